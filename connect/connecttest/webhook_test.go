package connecttest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/connect/connecttest"
)

// The webhook is the smallest target there is: docs/adding-a-target.md walks
// through it. It sends each record to a URL, at least once, with a key by which
// the receiver knows a record that comes again.

// config is the configuration of a webhook connector.
type config struct {
	URL string `json:"webhook.url" secret:"true" jsonschema:"required,description=Each record is sent there with POST."`
}

// Validate implements connect.Config.
func (c *config) Validate() error {
	if u, err := url.Parse(c.URL); err != nil || u.Host == "" {
		return errors.New("webhook.url: is not the URL of a server")
	}
	return nil
}

func plugin() connect.Plugin {
	return connect.Plugin{
		Class:  "webhook-sink",
		Config: func() connect.Config { return &config{} },
		New: func(name string, cfg connect.Config, _ connect.Env) (connect.Connector, error) {
			c, ok := cfg.(*config)
			if !ok {
				return nil, fmt.Errorf("connector %s: its configuration is a %T", name, cfg)
			}
			return &webhook{url: c.URL, client: &http.Client{}}, nil
		},
	}
}

// webhook is one configured receiver, shared by its sinks.
type webhook struct {
	url    string
	client *http.Client
}

func (w *webhook) NewSink(int) (connect.Sink, error) { return &webhookSink{w}, nil }

func (w *webhook) Delivery() connect.Delivery {
	return connect.Delivery{Why: "the receiver stores no offsets; each record has an Idempotency-Key"}
}

func (w *webhook) Close() error {
	w.client.CloseIdleConnections()
	return nil
}

// webhookSink is the sink of one task.
type webhookSink struct{ *webhook }

// Open implements connect.Sink: the group's committed offsets decide.
func (s *webhookSink) Open(ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
	at := make([]connect.Position, len(claims))
	for i := range at {
		at[i] = connect.Position{Next: connect.NoOffset, LastOffset: -1, LastTimestamp: -1}
	}
	return at, ctx.Err()
}

// Put implements connect.Sink, at least once: after an error some records may
// have been sent, and are sent again.
func (s *webhookSink) Put(ctx context.Context, b *connect.Batch) (connect.Result, error) {
	res := connect.Result{Counts: make([]connect.Counts, len(b.Parts))}
	for i := range b.Parts {
		p, c := &b.Parts[i], &res.Counts[i]
		c.Absent, c.Expired = p.Absent, p.Expired
		for j := range p.Records {
			switch r := &p.Records[j]; {
			case r.Err != nil:
				c.DeadLettered++
			case r.Filtered:
				c.Filtered++
			default:
				if err := s.send(ctx, p.TopicPartition, r); err != nil {
					return connect.Result{}, err
				}
				c.Written++
			}
		}
	}
	return res, nil
}

func (s *webhookSink) send(ctx context.Context, tp connect.TopicPartition, r *connect.Record) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url, bytes.NewReader(r.Value))
	if err != nil {
		return errors.New("webhook.url: no request can be made of it")
	}
	req.Header.Set("Idempotency-Key", fmt.Sprintf("%s/%d", tp, r.Offset))
	resp, err := s.client.Do(req)
	if err != nil {
		var e *url.Error // names the URL, which may hold a secret
		if errors.As(err, &e) {
			err = e.Err
		}
		return connect.Retriable(fmt.Errorf("sending %s@%d: %w", tp, r.Offset, err))
	}
	defer resp.Body.Close()
	answer, _ := io.ReadAll(io.LimitReader(resp.Body, 1000))
	switch {
	case resp.StatusCode < 300:
		return nil
	case resp.StatusCode == http.StatusBadRequest || resp.StatusCode == http.StatusUnprocessableEntity:
		return &connect.BadDataError{At: tp, Offset: r.Offset, Record: connect.RecordError{
			Stage: connect.StageTaskPut, Reason: "http_refused", Message: resp.Status + ": " + string(answer),
		}}
	case resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests:
		return connect.Retriable(fmt.Errorf("sending %s@%d: %s", tp, r.Offset, resp.Status))
	}
	return fmt.Errorf("sending %s@%d: %s", tp, r.Offset, resp.Status)
}

func (s *webhookSink) Release(context.Context, []connect.TopicPartition) error { return nil }

func (s *webhookSink) Close() error { return nil }

// receiver is a server that keeps what it is sent, and fails on demand.
type receiver struct {
	mu    sync.Mutex
	rows  []connecttest.Row
	keys  map[string]bool
	down  bool
	stall chan struct{}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	r.mu.Lock()
	stall := r.stall
	r.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-req.Context().Done():
			return
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var row connecttest.Row
	switch key := req.Header.Get("Idempotency-Key"); {
	case r.down:
		w.WriteHeader(http.StatusServiceUnavailable)
	case err != nil || strings.Count(key, "/") != 2 || json.Unmarshal(body, &row) != nil:
		w.WriteHeader(http.StatusBadRequest)
	case !r.keys[key]:
		r.keys[key] = true
		r.rows = append(r.rows, row)
	}
}

// set changes how the server behaves.
func (r *receiver) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// TestWebhook is the whole test of a new target.
func TestWebhook(t *testing.T) {
	t.Parallel()
	connecttest.TestSink(t, connecttest.Target{
		NoOffsets: true,
		New: func(t testing.TB) *connecttest.Store {
			r := &receiver{keys: map[string]bool{}}
			server := httptest.NewServer(r)
			t.Cleanup(server.Close)
			return &connecttest.Store{
				Connector: func(t testing.TB) connect.Connector {
					p := plugin()
					cfg := p.Config()
					cfg.(*config).URL = server.URL
					if err := cfg.Validate(); err != nil {
						t.Fatal(err)
					}
					c, err := p.New("webhook", cfg, connect.Env{})
					if err != nil {
						t.Fatal(err)
					}
					return c
				},
				Rows: func(testing.TB) (rows []connecttest.Row) {
					r.set(func() { rows = slices.Clone(r.rows) })
					return rows
				},
				Break: func(testing.TB) (mend func()) {
					r.set(func() { r.down = true })
					return func() { r.set(func() { r.down = false }) }
				},
				Stall: func(testing.TB) (free func()) {
					stall := make(chan struct{})
					r.set(func() { r.stall = stall })
					return func() {
						r.set(func() { r.stall = nil })
						close(stall)
					}
				},
			}
		},
		Record: func(_ string, row connecttest.Row) connect.Record {
			value, err := json.Marshal(row)
			if err != nil {
				t.Fatal(err)
			}
			return connect.Record{Value: value}
		},
		Bad: func(string, connecttest.Row) connect.Record {
			return connect.Record{Value: []byte("not JSON")}
		},
	})
}
