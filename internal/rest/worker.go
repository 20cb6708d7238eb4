package rest

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// APIVersion is the version of Kafka Connect's REST API that is spoken. Clients
// read it from GET / and choose their requests by it.
const APIVersion = "4.1.0"

// Root is what GET / says of the program.
type Root struct {
	// Version is the program's own; Commit the one it was built from.
	Version, Commit string
}

// Health is what GET /health says.
type Health struct {
	// Healthy answers 200, else 503.
	Healthy bool
	// Status is healthy or unhealthy.
	Status  string
	Message string
}

func healthHandler(health func() Health) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		h := health()
		code := http.StatusOK
		if !h.Healthy {
			code = http.StatusServiceUnavailable
		}
		answer(w, code, map[string]string{"status": h.Status, "message": h.Message})
	})
}

// clusterIDWithin bounds how long GET / waits for the brokers.
const clusterIDWithin = 2 * time.Second

// rootHandler answers GET /. The cluster's identity is asked for until it is
// known once; while the brokers are away it is null.
func rootHandler(root Root, clusterID func(context.Context) (string, error)) http.Handler {
	var (
		mu sync.Mutex
		id *string
	)
	version := APIVersion
	if root.Version != "" {
		version += "-tickconnect-" + root.Version
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		known := id
		mu.Unlock()
		if known == nil { // without the lock: while the brokers are away none waits for another
			ctx, cancel := context.WithTimeout(r.Context(), clusterIDWithin)
			if got, err := clusterID(ctx); err == nil && got != "" {
				known = &got
				mu.Lock()
				id = known
				mu.Unlock()
			}
			cancel()
		}
		answer(w, http.StatusOK, map[string]any{"version": version, "commit": root.Commit, "kafka_cluster_id": known})
	})
}

// answer writes a body as JSON. A client that has gone away is no concern.
func answer(w http.ResponseWriter, code int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error_code":500,"message":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)))
	w.WriteHeader(code)
	_, _ = w.Write(text)
}

// fail writes Kafka Connect's error body.
func fail(w http.ResponseWriter, code int, message string) {
	answer(w, code, map[string]any{"error_code": code, "message": message})
}

func notFound(w http.ResponseWriter, _ *http.Request) {
	fail(w, http.StatusNotFound, "HTTP 404 Not Found")
}

func methodNotAllowed(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
}
