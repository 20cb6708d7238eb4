package ingest

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// Answer says what became of the records of a request. Each is in one of the
// four.
type Answer struct {
	// Accepted is how many records the brokers have.
	Accepted int `json:"accepted"`
	// Rejected are bad, and will never be taken as they are.
	Rejected []Item `json:"rejected"`
	// Unsent are good and were not written: send them again.
	Unsent []Item `json:"unsent,omitempty"`
	// Unknown may have been written or not: sending one again may write it twice.
	Unknown []Item `json:"unknown,omitempty"`
}

// Item is a record that was not accepted.
type Item struct {
	Index   int    `json:"index"` // its place in the body, from 0; blank lines do not count
	Path    string `json:"path"`  // a JSONPath to the field to blame
	Reason  string `json:"reason"`
	Message string `json:"message"`
}

// Reasons beside those of marketdata.
const (
	reasonForbidden     = "forbidden"
	reasonTooLarge      = "too_large"
	reasonUnavailable   = "unavailable"
	reasonBufferFull    = "buffer_full"
	reasonNotAuthorized = "not_authorized"
	reasonNoTopic       = "no_topic"
	reasonStopping      = "stopping"
	reasonUnknown       = "outcome_unknown"
)

// errForbidden is of a record whose exchange the token does not cover.
var errForbidden = errors.New("the token does not cover the record's exchange")

// add counts one record's result.
func (a *Answer) add(index int, list bool, size int, err error) {
	item := Item{Index: index, Path: path(index, list, "")}
	var bad *marketdata.Error
	switch {
	case err == nil:
		a.Accepted++
	case errors.As(err, &bad):
		item.Path, item.Reason, item.Message = path(index, list, bad.Field), bad.Reason, bad.Error()
		a.Rejected = append(a.Rejected, item)
	case errors.Is(err, errForbidden):
		item.Path, item.Reason, item.Message = path(index, list, "exchangeId"), reasonForbidden, errForbidden.Error()
		a.Rejected = append(a.Rejected, item)
	case errors.Is(err, publish.ErrTooLarge):
		item.Reason, item.Message = reasonTooLarge, strconv.Itoa(size)+" bytes are more than a record may have here"
		a.Rejected = append(a.Rejected, item)
	default:
		a.addUnpublished(item, err)
	}
}

// addUnpublished sorts good records that have no acknowledgement. The brokers'
// own words name addresses and topics: they are for the log.
func (a *Answer) addUnpublished(item Item, err error) {
	switch {
	case errors.Is(err, publish.ErrUnknownOutcome):
	case errors.Is(err, publish.ErrBufferFull):
		item.Reason, item.Message = reasonBufferFull, "the brokers take records more slowly than they come; send it again later"
	case errors.Is(err, publish.ErrClosed):
		item.Reason, item.Message = reasonStopping, "the server is stopping; send it again"
	case errors.Is(err, publish.ErrNotAuthorized):
		item.Reason, item.Message = reasonNotAuthorized, "the brokers refuse the server's user; its operator must mend that"
	case errors.Is(err, publish.ErrNoTopic):
		item.Reason, item.Message = reasonNoTopic, "the topic of this exchange is not there; the server's operator must make it"
	case errors.Is(err, publish.ErrUnavailable):
		item.Reason, item.Message = reasonUnavailable, "the brokers are away; send it again later"
	}
	if item.Reason != "" {
		a.Unsent = append(a.Unsent, item)
		return
	}
	// An error of which nobody says that the record was not written: unknown.
	item.Reason, item.Message = reasonUnknown, "the brokers did not answer in time: it may have been written or not"
	a.Unknown = append(a.Unknown, item)
}

func path(index int, list bool, field string) string {
	p := "$"
	if list {
		p += "[" + strconv.Itoa(index) + "]"
	}
	if field != "" {
		p += "." + field
	}
	return p
}

// status is what a client that looks at nothing else must see. 200 is for all
// accepted and nothing else. Elasticsearch's _bulk and BigQuery's insertAll
// answer 200 whatever became of the records, and their clients lose some
// unawares; Prometheus' remote write answers 400, after which nobody knows what
// was taken. 207 (RFC 4918) is what bulk interfaces that mean both use: it is not
// 200, and says to look at the body. A 503 outranks it, since something is to be
// sent again.
func (a *Answer) status() int {
	switch {
	case len(a.Unsent)+len(a.Unknown) > 0:
		return http.StatusServiceUnavailable
	case len(a.Rejected) == 0:
		return http.StatusOK
	case a.Accepted > 0:
		return http.StatusMultiStatus
	}
	for _, item := range a.Rejected {
		if item.Reason != reasonForbidden {
			return http.StatusUnprocessableEntity
		}
	}
	return http.StatusForbidden
}

// statusClientGone is nginx's code for a client that did not wait. It is counted,
// and nobody gets it.
const statusClientGone = 499

// reply is an answer, ready to be written.
type reply struct {
	code   int
	header http.Header
	body   []byte
	// published says that some record was published, or may have been.
	published bool
}

func newReply(code int, of any) *reply {
	text, err := json.Marshal(of)
	if err != nil {
		code, text = http.StatusInternalServerError, []byte(`{"error_code":500,"message":"the answer cannot be written as JSON"}`)
	}
	return &reply{code: code, header: http.Header{}, body: text}
}

// Error is the body of an answer to a request that was refused as a whole:
// nothing of it was published.
type Error struct {
	Code    int    `json:"error_code"`
	Message string `json:"message"`
}

func fail(code int, message string) *reply { return newReply(code, Error{code, message}) }

// retryAfter asks for a pause of whole seconds.
func (r *reply) retryAfter(seconds int) *reply {
	r.header.Set("Retry-After", strconv.Itoa(max(1, seconds)))
	return r
}
