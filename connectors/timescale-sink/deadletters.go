package timescalesink

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/qicore/tickconnect/connect"
)

// deadLetterStep stores a batch's dead letters: exact keys and values as bytes.
func (st *ledgerStatements) deadLetterStep(connector string, generation int32, pl *plan) step {
	dead, n := pl.dead, len(pl.dead)
	part := func(i int) *connect.Part { return &pl.batch.Parts[dead[i].part] }
	var p params
	p.text(connector)
	p.add(oidInt4, appendInt32s(nil, generation))
	p.strings(n, func(i int) string { return part(i).Topic })
	p.int4s(n, func(i int) int32 { return part(i).Partition })
	p.int8s(n, func(i int) int64 { return dead[i].record.Offset })
	p.times(n, func(i int) int64 { return dead[i].record.Timestamp })
	p.strings(n, func(i int) string { return storable(dead[i].record.Err.Stage) })
	p.strings(n, func(i int) string { return storable(dead[i].record.Err.Reason) })
	p.strings(n, func(i int) string { return storable(dead[i].record.Err.SQLState) })
	p.strings(n, func(i int) string { return storable(dead[i].record.Err.Column) })
	p.strings(n, func(i int) string { return storable(dead[i].record.Err.Message) })
	p.bytes(n, func(i int) []byte { return dead[i].record.Key })
	p.bytes(n, func(i int) []byte { return dead[i].record.Value })
	p.strings(n, func(i int) string { return encodeHeaders(dead[i].record.Headers) })
	return step{doing: "storing dead letters", sql: st.insertDeadLetters, params: p, own: true}
}

// messageMaxBytes bounds what is kept of an error's text.
const messageMaxBytes = 4000

// storable makes a text that PostgreSQL takes: no NUL, valid UTF-8, not endless.
func storable(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= messageMaxBytes {
		return s
	}
	return strings.ToValidUTF8(s[:messageMaxBytes], "") + "..."
}

// storedHeader is a header in the column headers: the value in base64, and the
// key too where jsonb cannot hold it as text.
type storedHeader struct {
	Key       string `json:"key,omitempty"`
	KeyBase64 []byte `json:"keyBase64,omitempty"`
	Value     []byte `json:"value"`
}

func encodeHeaders(headers []connect.Header) string {
	if len(headers) == 0 {
		return ""
	}
	stored := make([]storedHeader, 0, len(headers))
	for _, h := range headers {
		s := storedHeader{Key: h.Key, Value: h.Value}
		if !utf8.ValidString(h.Key) || strings.ContainsRune(h.Key, 0) {
			s.Key, s.KeyBase64 = "", []byte(h.Key)
		}
		stored = append(stored, s)
	}
	text, err := json.Marshal(stored)
	if err != nil { // structs of strings and bytes always marshal
		panic(err)
	}
	return string(text)
}

func decodeHeaders(text string) ([]connect.Header, error) {
	if text == "" {
		return nil, nil
	}
	var stored []storedHeader
	if err := json.Unmarshal([]byte(text), &stored); err != nil {
		return nil, fmt.Errorf("reading a dead letter's headers: %w", err)
	}
	headers := make([]connect.Header, 0, len(stored))
	for _, s := range stored {
		h := connect.Header{Key: s.Key, Value: s.Value}
		if s.KeyBase64 != nil {
			h.Key = string(s.KeyBase64)
		}
		headers = append(headers, h)
	}
	return headers, nil
}

// supersedeStep marks the dead letters of former generations whose offsets this
// batch passes again: they have a fate in the generation that is live now, and
// where it is the same one a dead letter of their own.
func (s *Sink) supersedeStep(b *connect.Batch) *step {
	var parts []*connect.Part
	for i := range b.Parts {
		if b.Parts[i].Start < s.open[b.Parts[i].TopicPartition].deadBelow {
			parts = append(parts, &b.Parts[i])
		}
	}
	if len(parts) == 0 {
		return nil
	}
	n := len(parts)
	var p params
	p.text(s.connector.name)
	p.add(oidInt4, appendInt32s(nil, s.generation))
	p.strings(n, func(i int) string { return parts[i].Topic })
	p.int4s(n, func(i int) int32 { return parts[i].Partition })
	p.int8s(n, func(i int) int64 { return parts[i].Start })
	p.int8s(n, func(i int) int64 { return parts[i].Next })
	return &step{doing: "marking former dead letters", sql: s.connector.statements.supersedeDeadLetters, params: p}
}
