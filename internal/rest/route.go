package rest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/herder"
)

const (
	// requestTimeout is Kafka Connect's.
	requestTimeout = 90 * time.Second
	bodyBytesMax   = 1 << 20
)

// reply is what a request is answered with. A body that is nil is none.
type reply struct {
	code     int
	body     any
	location string
}

func ok(body any) (reply, error) { return reply{code: http.StatusOK, body: body}, nil }

// requestError is an error that says with which status it is answered.
type requestError struct {
	code    int
	message string
}

func (e *requestError) Error() string { return e.message }

func refuse(code int, format string, args ...any) error {
	return &requestError{code, fmt.Sprintf(format, args...)}
}

// call answers one request.
type call func(r *http.Request) (reply, error)

// routes are the calls of one path, by method.
type routes map[string]call

func (c routes) handler(log *slog.Logger) http.Handler {
	var allowed []string
	for method := range c {
		allowed = append(allowed, method)
	}
	if c[http.MethodGet] != nil {
		allowed = append(allowed, http.MethodHead)
	}
	slices.Sort(allowed)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		method := r.Method
		if method == http.MethodHead {
			method = http.MethodGet
		}
		f := c[method]
		switch {
		case f == nil:
			w.Header().Set("Allow", strings.Join(allowed, ", "))
			fail(w, http.StatusMethodNotAllowed, "HTTP 405 Method Not Allowed")
			return
		case method != http.MethodGet && method != http.MethodDelete && !isJSON(r.Header.Get("Content-Type")):
			fail(w, http.StatusUnsupportedMediaType, "HTTP 415 Unsupported Media Type")
			return
		case !accepts(r.Header.Values("Accept")):
			fail(w, http.StatusNotAcceptable, "HTTP 406 Not Acceptable")
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		r.Body = http.MaxBytesReader(w, r.Body, bodyBytesMax)
		answered, err := f(r)
		if err != nil {
			code, message := statusOf(err)
			if code >= http.StatusInternalServerError {
				log.Warn("a request was not carried out", "method", r.Method, "path", r.URL.Path, "err", err)
			}
			fail(w, code, message)
			return
		}
		if answered.location != "" {
			w.Header().Set("Location", answered.location)
		}
		if answered.body == nil {
			w.WriteHeader(answered.code)
			return
		}
		answer(w, answered.code, answered.body)
	})
}

// startWithin is how long requests wait for a worker that has just started.
const startWithin = 10 * time.Second

func afterStart(c Connect, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), startWithin)
		c.Wait(ctx)
		cancel()
		next.ServeHTTP(w, r)
	})
}

// isJSON says whether a body may be of a content type: none is taken for JSON.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}

// accepts says whether a client takes JSON.
func accepts(headers []string) bool {
	if len(headers) == 0 {
		return true
	}
	for media := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		media, _, _ = strings.Cut(media, ";")
		switch strings.TrimSpace(media) {
		case "*/*", "application/*", "application/json", "":
			return true
		}
	}
	return false
}

// statusOf gives the status and the text of an error.
func statusOf(err error) (int, string) {
	var asked *requestError
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &asked):
		return asked.code, asked.message
	case errors.As(err, &tooLarge):
		return http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is larger than %d bytes", tooLarge.Limit)
	case errors.Is(err, herder.ErrNotFound):
		return http.StatusNotFound, err.Error()
	case errors.Is(err, herder.ErrExists):
		return http.StatusConflict, err.Error()
	case errors.Is(err, herder.ErrConflict):
		return http.StatusConflict, "Cannot complete request because of a conflicting operation (e.g. worker rebalance)"
	case errors.Is(err, herder.ErrChanged):
		return http.StatusPreconditionFailed, err.Error()
	case errors.Is(err, herder.ErrTooLarge):
		return http.StatusRequestEntityTooLarge, err.Error()
	case errors.Is(err, herder.ErrFile):
		return http.StatusBadRequest, err.Error()
	case connect.IsRetriable(err):
		return http.StatusServiceUnavailable, err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return http.StatusInternalServerError, "Request timed out: " + err.Error()
	}
	return http.StatusInternalServerError, err.Error()
}

// withoutSlash takes a slash from the end of the path, as Kafka Connect does.
func withoutSlash(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if escaped := r.URL.EscapedPath(); len(escaped) > 1 && strings.HasSuffix(escaped, "/") {
			r = r.Clone(r.Context())
			r.URL.Path = strings.TrimSuffix(r.URL.Path, "/")
			r.URL.RawPath = strings.TrimSuffix(escaped, "/")
		}
		next.ServeHTTP(w, r)
	})
}

// BadRequest is an error of what a request asks for.
func BadRequest(message string) error { return &requestError{http.StatusBadRequest, message} }
