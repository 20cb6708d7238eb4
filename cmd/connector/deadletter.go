package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

// letterReport is a dead letter as it is shown. Key, value and header values are
// the exact bytes: base64 in JSON, null where the record has none.
type letterReport struct {
	Connector   string         `json:"connector"`
	Topic       string         `json:"topic"`
	Partition   int32          `json:"partition"`
	Offset      int64          `json:"offset"`
	Generation  int32          `json:"generation"`
	StoredAt    time.Time      `json:"stored_at"`
	RecordTime  *time.Time     `json:"record_time"`
	Stage       string         `json:"stage"`
	Reason      string         `json:"reason"`
	Column      string         `json:"column,omitempty"`
	SQLState    string         `json:"sqlstate,omitempty"`
	Message     string         `json:"message"`
	Advice      string         `json:"advice"`
	PublishedAt *time.Time     `json:"published_at"`
	RedrivenAt  *time.Time     `json:"redriven_at"`
	Key         []byte         `json:"key"`
	Value       []byte         `json:"value"`
	Headers     []letterHeader `json:"headers"`
}

type letterHeader struct {
	Key   string `json:"key"`
	Value []byte `json:"value"`
}

func newLetterReport(connector string, l *timescalesink.StoredDeadLetter) letterReport {
	r := letterReport{
		Connector: connector, Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Generation: l.Generation,
		StoredAt: l.CreatedAt.UTC(), Stage: l.Err.Stage, Reason: l.Err.Reason, Column: l.Err.Column,
		SQLState: l.Err.SQLState, Message: l.Err.Message, Advice: letterAdvice(l.Err),
		PublishedAt: l.PublishedAt, RedrivenAt: l.RedrivenAt, Key: l.Key, Value: l.Value, Headers: []letterHeader{},
	}
	if at := l.Time(); !at.IsZero() {
		r.RecordTime = &at
	}
	for _, h := range l.Headers {
		r.Headers = append(r.Headers, letterHeader(h))
	}
	return r
}

// letterAdvice says what can be done about a dead letter.
func letterAdvice(e *connect.RecordError) string {
	switch {
	case e.Reason == "numeric_does_not_fit" || e.SQLState == "22003":
		return "the column keeps fewer digits than the value has: give it the type numeric without a precision"
	case strings.HasPrefix(e.SQLState, "23"):
		return "a constraint of the table refuses the row: see whether the constraint or the record is wrong"
	case e.SQLState != "":
		return "the database refuses the value: see whether the table's columns are those that the connector makes"
	case e.Reason == "unknown_kind":
		return "the topic's name tells no kind of market data: take the topic out of the connector, or name its kind in kinds.ignore"
	case e.Reason == "bad_time":
		return "mend the producer: a time is RFC 3339 or a number of s, ms, µs or ns since 1970"
	case e.Stage == connect.StageValueConverter:
		return "mend the producer, and let it send a corrected record; the exact bytes are kept here"
	}
	return "see what the message blames; the exact bytes are kept here"
}

func (r *letterReport) position() string {
	return fmt.Sprintf("%s/%d@%d", r.Topic, r.Partition, r.Offset)
}

func (r *letterReport) print(w io.Writer) error {
	fmt.Fprintf(w, "%s, a dead letter of %s, generation %d\n", r.position(), r.Connector, r.Generation)
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(w, "  %-12s %s\n", name, value)
		}
	}
	fact("stored", r.StoredAt.Format(time.RFC3339Nano))
	fact("record time", timeText(r.RecordTime))
	fact("stage", r.Stage)
	fact("reason", r.Reason)
	fact("field", r.Column)
	fact("sqlstate", r.SQLState)
	fact("message", oneLine(r.Message))
	fact("published", timeText(r.PublishedAt))
	fact("redriven", timeText(r.RedrivenAt))
	fact("advice", r.Advice)
	printBytes(w, "key", r.Key)
	for _, h := range r.Headers {
		printBytes(w, "header "+strconv.Quote(h.Key), h.Value)
	}
	printBytes(w, "value", r.Value)
	return nil
}

func timeText(at *time.Time) string {
	if at == nil {
		return ""
	}
	return at.UTC().Format(time.RFC3339Nano)
}

// printBytes shows bytes as text where they are text that a terminal shows as it
// is, else as a hex dump: what is seen is what is there.
func printBytes(w io.Writer, name string, b []byte) {
	switch {
	case b == nil:
		fmt.Fprintf(w, "  %s: none\n", name)
	case len(b) == 0:
		fmt.Fprintf(w, "  %s: empty\n", name)
	case isShowable(b):
		fmt.Fprintf(w, "  %s: %s of text\n    %s\n", name, count(len(b), "byte"), b)
	default:
		dump := strings.TrimSuffix(hex.Dump(b), "\n")
		fmt.Fprintf(w, "  %s: %s, not text\n    %s\n", name, count(len(b), "byte"), strings.ReplaceAll(dump, "\n", "\n    "))
	}
}

// isShowable says whether a terminal shows exactly the bytes: one line of
// printable UTF-8.
func isShowable(b []byte) bool {
	if !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if !strconv.IsPrint(r) {
			return false
		}
	}
	return true
}
