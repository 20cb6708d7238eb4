package schemas

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/sr"
	"golang.org/x/sync/singleflight"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// Reasons of records that cannot be read.
const (
	ReasonNoHeader        = "no_schema_header"
	ReasonUnknownSchemaID = "unknown_schema_id"
	ReasonBadSchema       = "bad_schema"
	ReasonNotOfSchema     = "not_of_schema"
)

const (
	requestTimeout = 3 * time.Second
	// unknownAfter is for how long an id that the registry does not know is asked for
	// again: a follower may lag behind its leader.
	unknownAfter = 10 * time.Second
	// unknownFor is for how long it then counts as unknown, and unknownMax how many
	// such ids are kept: garbage may name any.
	unknownFor = time.Minute
	unknownMax = 1000
)

// Options say how to reach a registry.
type Options struct {
	URLs           []string
	User, Password string // "" for none
	Token          string // a bearer token; "" for none
	TLS            *tls.Config
}

// Registry knows the schemas that records name. It is safe for concurrent use.
type Registry struct {
	client  *sr.Client
	now     func() time.Time
	flights singleflight.Group

	mu      sync.RWMutex
	schemas map[int]*compiled
	unknown map[int]unknownID
}

// compiled is a schema as it is used; wrong says why it cannot be.
type compiled struct {
	kind  sr.SchemaType
	avro  *node
	proto *protoFile
	wrong *marketdata.Error
}

// unknownID is an id that the registry did not know.
type unknownID struct {
	since, until time.Time // until is zero while it is asked for again
}

// New makes a Registry. It does not connect yet.
func New(o Options) (*Registry, error) {
	opts := []sr.ClientOpt{
		sr.URLs(o.URLs...), sr.UserAgent("tickconnect"),
		sr.HTTPClient(&http.Client{Timeout: requestTimeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}),
	}
	if o.TLS != nil {
		opts = append(opts, sr.DialTLSConfig(o.TLS))
	}
	if o.User != "" || o.Password != "" {
		opts = append(opts, sr.BasicAuth(o.User, o.Password))
	}
	if o.Token != "" {
		opts = append(opts, sr.BearerToken(o.Token))
	}
	client, err := sr.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	return &Registry{client: client, now: time.Now, schemas: map[int]*compiled{}, unknown: map[int]unknownID{}}, nil
}

// headerBytes is the magic byte and the schema's id.
const headerBytes = 5

// cutHeader takes the wire format's header off a value.
func cutHeader(value []byte) (id int, payload []byte, fault *marketdata.Error) {
	switch {
	case len(value) == 0:
		return 0, nil, &marketdata.Error{Reason: marketdata.ReasonEmptyValue, Message: "the value is empty"}
	case value[0] == '{' || value[0] == '[':
		return 0, nil, &marketdata.Error{
			Reason:  ReasonNoHeader,
			Message: "the value has no header of a schema registry, it looks like JSON: use value.converter json or native",
		}
	case value[0] != 0:
		return 0, nil, &marketdata.Error{
			Reason:  ReasonNoHeader,
			Message: fmt.Sprintf("the value has no header of a schema registry: its first byte is 0x%02x, not the magic byte 0", value[0]),
		}
	case len(value) < headerBytes:
		return 0, nil, &marketdata.Error{Reason: ReasonNoHeader, Message: fmt.Sprintf("%d bytes are too few for the header of a schema registry", len(value))}
	}
	return int(binary.BigEndian.Uint32(value[1:])), value[headerBytes:], nil
}

// schema gives the schema of an id. Its error is connect.Retriable where the
// registry is away, and for some time where it does not know the id; else it is a
// *marketdata.Error.
func (r *Registry) schema(id int, want sr.SchemaType) (*compiled, error) {
	c, err := r.find(id)
	switch {
	case err != nil:
		return nil, err
	case c.wrong != nil:
		return nil, c.wrong
	case c.kind != want:
		return nil, &marketdata.Error{
			Reason:  ReasonBadSchema,
			Message: fmt.Sprintf("schema %d is of the type %s, not %s: value.converter is another one's", id, c.kind, want),
		}
	}
	return c, nil
}

func (r *Registry) find(id int) (*compiled, error) {
	r.mu.RLock()
	c := r.schemas[id]
	var until time.Time
	if c == nil {
		until = r.unknown[id].until
	}
	r.mu.RUnlock()
	switch {
	case c != nil:
		return c, nil
	case r.now().Before(until):
		return nil, unknownError(id)
	}
	found, err, _ := r.flights.Do(fmt.Sprint(id), func() (any, error) { return r.ask(id) })
	if err != nil {
		return nil, err
	}
	return found.(*compiled), nil
}

func unknownError(id int) error {
	return &marketdata.Error{
		Reason:  ReasonUnknownSchemaID,
		Message: fmt.Sprintf("the schema registry does not know schema %d: is value.converter.schema.registry.url that of the producer?", id),
	}
}

// ask asks the registry for a schema and those that it refers to.
func (r *Registry) ask(id int) (*compiled, error) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	schema, err := r.client.SchemaByID(ctx, id)
	if isUnknown(err) {
		return nil, r.notKnown(id)
	}
	if err != nil {
		return nil, away(err)
	}
	c := &compiled{kind: schema.Type}
	if schema.Type != sr.TypeJSON {
		files, err := r.references(ctx, schema.References, map[string]bool{})
		if err != nil {
			return nil, err
		}
		files = append(files, namedText{fmt.Sprintf("schema-%d.proto", id), schema.Schema})
		if schema.Type == sr.TypeAvro {
			c.avro, err = compileAvro(files)
		} else {
			c.proto, err = compileProto(files)
		}
		if err != nil {
			c.wrong = &marketdata.Error{Reason: ReasonBadSchema, Message: fmt.Sprintf("schema %d cannot be used: %v", id, err)}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.schemas[id] = c
	delete(r.unknown, id)
	return c, nil
}

// namedText is a schema by the name under which others refer to it.
type namedText struct{ name, text string }

// references gives the schemas that are referred to, each after those that it
// refers to itself.
func (r *Registry) references(ctx context.Context, references []sr.SchemaReference, seen map[string]bool) (texts []namedText, err error) {
	for _, ref := range references {
		key := fmt.Sprintf("%s/%d", ref.Subject, ref.Version)
		if seen[key] {
			continue
		}
		seen[key] = true
		s, err := r.client.SchemaByVersion(ctx, ref.Subject, ref.Version)
		if err != nil {
			return nil, away(fmt.Errorf("version %d of %s, which the schema refers to: %w", ref.Version, ref.Subject, err))
		}
		below, err := r.references(ctx, s.References, seen)
		if err != nil {
			return nil, err
		}
		texts = append(append(texts, below...), namedText{ref.Name, s.Schema.Schema})
	}
	return texts, nil
}

// notKnown is an outage first, and then the record's fault.
func (r *Registry) notKnown(id int) error {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	u, asked := r.unknown[id]
	switch {
	case !asked || !u.until.IsZero() && now.After(u.until):
		if len(r.unknown) >= unknownMax {
			clear(r.unknown)
		}
		u = unknownID{since: now}
	case now.Sub(u.since) >= unknownAfter:
		u.until = now.Add(unknownFor)
	}
	r.unknown[id] = u
	if u.until.IsZero() {
		return connect.Retriable(fmt.Errorf("the schema registry does not know schema %d; it is asked again", id))
	}
	return unknownError(id)
}

// away is an outage: what must be mended at the registry fills no dead letters
// (promise 6).
func away(err error) error {
	return connect.Retriable(fmt.Errorf("asking the schema registry (value.converter.schema.registry.url): %w", err))
}

// isUnknown says whether the registry itself does not know a schema. A mere 404 may
// be that of a proxy, or of another server at a wrong address.
func isUnknown(err error) bool {
	var answered *sr.ResponseError
	return errors.As(err, &answered) && answered.SchemaError() == sr.ErrSchemaNotFound
}

// Ping asks the registry for a schema that need not be there. Its error is
// connect.Retriable.
func (r *Registry) Ping(ctx context.Context) error {
	if _, err := r.client.SchemaByID(ctx, 1); err != nil && !isUnknown(err) {
		return away(err)
	}
	return nil
}

// JSON reads records whose JSON has a schema. They are not validated against it.
type JSON struct{ *Registry }

// AppendJSON appends the JSON of a record. It tells x nothing.
func (t JSON) AppendJSON(dst, value []byte, _ *marketdata.Index) ([]byte, error) {
	id, payload, fault := cutHeader(value)
	if fault != nil {
		return dst, fault
	}
	if _, err := t.schema(id, sr.TypeJSON); err != nil {
		return dst, err
	}
	return append(dst, payload...), nil
}
