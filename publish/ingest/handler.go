package ingest

import (
	"context"
	"crypto/sha256"
	_ "embed" // the OpenAPI document
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// openAPI describes what is served here.
//
//go:embed openapi.json
var openAPI []byte

// answerWithin bounds how long a client may take to read its answer.
const answerWithin = 10 * time.Second

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /publish/{kind}", s.publish)
	mux.HandleFunc("/publish/{kind}", func(w http.ResponseWriter, r *http.Request) { s.refuseMethod(w, r, "POST") })
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, _ *http.Request) {
		write(w, &reply{code: http.StatusOK, header: http.Header{}, body: openAPI})
	})
	mux.HandleFunc("/openapi.json", func(w http.ResponseWriter, r *http.Request) { s.refuseMethod(w, r, "GET, HEAD") })
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		write(w, fail(http.StatusNotFound, "there is POST /publish/{kind}, and GET /openapi.json, which describes it"))
	})
	return mux
}

func (s *Server) refuseMethod(w http.ResponseWriter, r *http.Request, allowed string) {
	answer := fail(http.StatusMethodNotAllowed, r.Method+" is not taken here: use "+allowed)
	answer.header.Set("Allow", allowed)
	write(w, answer)
}

// write sends an answer. A client that has gone away is no concern.
func write(w http.ResponseWriter, r *reply) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(answerWithin)) // not every server has one
	for name, values := range r.header {
		w.Header()[name] = values
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(r.body)))
	w.WriteHeader(r.code)
	_, _ = w.Write(r.body)
}

// publish answers POST /publish/{kind}.
func (s *Server) publish(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	s.opts.Metrics.inFlight.Inc()
	defer s.opts.Metrics.inFlight.Dec()
	kind, _ := marketdata.ParseKind(r.PathValue("kind")) // 0 has its answer in admit
	answer := s.answer(w, r, kind)
	code := answer.code
	if r.Context().Err() != nil {
		code = statusClientGone
	}
	s.opts.Metrics.request(kind, code, time.Since(began))
	write(w, answer)
}

// request is one that may be worked on.
type request struct {
	kind     marketdata.Kind
	exchange string // of records that name none
	by       *token
	form     form
	encoding string
	key      string // its Idempotency-Key
}

func (s *Server) answer(w http.ResponseWriter, r *http.Request, kind marketdata.Kind) *reply {
	req, refused := s.admit(r, kind)
	if refused != nil {
		return refused
	}
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	default:
		return fail(http.StatusServiceUnavailable, fmt.Sprintf("%d requests are under way, which is the most; nothing was published: send it again later", s.opts.RequestsMax)).retryAfter(1)
	}
	b := s.bodies.Get().(*body)
	defer func() {
		b.Reset()
		clear(b.values)
		s.bodies.Put(b)
	}()
	if refused := s.read(w, r, req.encoding, b); refused != nil {
		return refused
	}
	s.opts.Metrics.bytes.WithLabelValues(kind.String()).Add(float64(b.Len()))
	if refused := b.split(req.form, s.opts.RecordsMax); refused != nil {
		return refused
	}
	if req.key == "" {
		return s.publishBody(r.Context(), req, b)
	}
	return s.publishOnce(r.Context(), req, b)
}

// admit looks at everything but the body.
func (s *Server) admit(r *http.Request, kind marketdata.Kind) (*request, *reply) {
	req := &request{kind: kind, by: &s.everyone}
	if s.opts.Tokens != nil {
		if req.by = s.opts.Tokens.find(r.Header.Get("Authorization")); req.by == nil {
			return nil, unauthorized(r.Header.Get("Authorization") != "")
		}
	}
	if kind == 0 {
		return nil, unknownKind(r.PathValue("kind"))
	}
	if !req.by.mayPublish(kind) {
		return nil, fail(http.StatusForbidden, fmt.Sprintf("the token does not cover the kind %s; nothing was published", kind))
	}
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil { // what cannot be read would be left out in silence
		return nil, fail(http.StatusBadRequest, fmt.Sprintf("the parameters cannot be read: %v; nothing was published", err))
	}
	for name, values := range query {
		if name != "exchange" || len(values) > 1 {
			return nil, fail(http.StatusBadRequest, fmt.Sprintf("the parameter %.50q is not known, or is there twice; nothing was published: there is exchange", name))
		}
		req.exchange = strings.ToLower(values[0])
	}
	if req.exchange != "" && !req.by.mayWriteTo(req.exchange) {
		return nil, fail(http.StatusForbidden, "the token does not cover the exchange of the parameter exchange; nothing was published")
	}
	var refused *reply
	if req.form, refused = formOf(r.Header); refused != nil {
		return nil, refused
	}
	if req.encoding, refused = encodingOf(r.Header); refused != nil {
		return nil, refused
	}
	if keys := r.Header.Values("Idempotency-Key"); len(keys) > 0 {
		req.key = keys[0]
		if len(keys) > 1 || req.key == "" || len(req.key) > idempotencyKeyMax {
			return nil, fail(http.StatusBadRequest, fmt.Sprintf("Idempotency-Key is not one text of 1 to %d bytes; nothing was published", idempotencyKeyMax))
		}
	}
	return req, nil
}

func unauthorized(given bool) *reply {
	message, challenge := "a token is needed: send the header Authorization: Bearer TOKEN", `Bearer realm="tickconnect"`
	if given {
		message, challenge = "the token is not known, or not sent as Authorization: Bearer TOKEN", challenge+`, error="invalid_token"`
	}
	r := fail(http.StatusUnauthorized, message)
	r.header.Set("WWW-Authenticate", challenge)
	return r
}

func unknownKind(name string) *reply {
	var names []string
	nearest, edits := "", 4
	for _, k := range marketdata.Kinds() {
		names = append(names, k.String())
		if n := levenshtein.ComputeDistance(strings.ToLower(name), k.String()); len(name) < 50 && n < edits {
			nearest, edits = k.String(), n
		}
	}
	message := fmt.Sprintf("%.50q is no kind of market data: there are %s", name, strings.Join(names, ", "))
	if nearest != "" {
		message += "; did you mean " + nearest + "?"
	}
	return fail(http.StatusNotFound, message)
}

// publishOnce is publishBody for a request with an Idempotency-Key. It does not
// end with its client: whoever asks again under the key gets the answer.
func (s *Server) publishOnce(ctx context.Context, req *request, b *body) *reply {
	key := sha256.Sum256([]byte(req.by.name + "\x00" + req.kind.String() + "\x00" + req.key))
	h := sha256.New()
	h.Write([]byte(req.exchange + "\x00"))
	h.Write(b.Bytes())
	if known := s.replays[req.by].begin(key, [sha256.Size]byte(h.Sum(nil))); known != nil {
		return known
	}
	var final *reply
	defer func() { s.replays[req.by].finish(key, final) }() // also where something panics
	answer := s.publishBody(context.WithoutCancel(ctx), req, b)
	// Where nothing was published the client is to try again, not to be told the
	// same. Where something was, or may have been, the key protects it also behind a
	// 503: what is unsent comes under a new one.
	if answer.published || answer.code != http.StatusServiceUnavailable && answer.code != http.StatusTooManyRequests {
		final = answer
	}
	return answer
}

// publishBody publishes the records and waits for the brokers.
func (s *Server) publishBody(ctx context.Context, req *request, b *body) *reply {
	if limited := s.limit(req.by, len(b.values)); limited != nil {
		return limited
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	defer context.AfterFunc(s.stopping, cancel)()

	records := make([]publish.JSON, len(b.values))
	allow := func(exchange string) error {
		if !req.by.mayWriteTo(exchange) {
			return errForbidden
		}
		return nil
	}
	for i, value := range b.values {
		records[i] = publish.JSON{Kind: req.kind, Exchange: req.exchange, Value: value, Allow: allow}
	}
	results, _ := s.publisher.PublishJSON(ctx, records) // each result has its own error
	answer := Answer{Rejected: []Item{}}
	var first error
	for i, r := range results {
		answer.add(i, b.list, len(b.values[i]), r.Err)
		if first == nil && r.Err != nil && !publish.IsBadRecord(r.Err) && !errors.Is(r.Err, errForbidden) {
			first = r.Err
		}
	}
	s.opts.Metrics.answered(req.kind, &answer)
	code := answer.status()
	reply := newReply(code, answer)
	reply.published = answer.Accepted > 0 || len(answer.Unknown) > 0
	if code != http.StatusServiceUnavailable {
		return reply
	}
	if ctx.Err() == nil || errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		s.warnings.Do(func() {
			s.opts.Log.Warn("records that came over HTTP are not published", "kind", req.kind.String(),
				"unsent", len(answer.Unsent), "unknown", len(answer.Unknown), "err", first)
		})
	}
	return reply.retryAfter(5)
}

// limit takes the records off what the token may publish now, or refuses all.
func (s *Server) limit(by *token, records int) *reply {
	limiter := s.limits[by]
	if limiter == nil {
		return nil
	}
	now := s.opts.now()
	r := limiter.ReserveN(now, records)
	wait := r.DelayFrom(now)
	if wait == 0 {
		return nil
	}
	r.CancelAt(now)
	return fail(http.StatusTooManyRequests, fmt.Sprintf("more than %g records a second come with this token; nothing was published: send them again later",
		s.opts.RecordsPerSecond)).retryAfter(int(math.Ceil(wait.Seconds())))
}
