// Package recording holds market data that was recorded from exchanges, as the
// records that a producer of this project's messages would have sent. The demo
// and the benchmarks play it; data/README.md says where it comes from.
package recording

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/klauspost/compress/zstd"
)

//go:embed data/manifest.json data/*.jsonl.zst
var files embed.FS

// Record is one message with its topic and key.
type Record struct {
	Topic      string
	Key, Value []byte
	Time       time.Time // when it happened, as the value says
}

// Manifest says what the recording holds.
type Manifest struct {
	// Version changes with any record.
	Version string  `json:"version"`
	Totals  []Total `json:"totals"`
}

// Total counts the records of one topic and bounds their times.
type Total struct {
	Topic   string    `json:"topic"`
	Records int       `json:"records"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
}

// Reader reads the recording once. It is for one goroutine.
type Reader struct {
	manifest Manifest
	tapes    []*tape
}

// tape reads the records of one topic.
type tape struct {
	Total
	file  io.ReadCloser
	zstd  *zstd.Decoder
	lines *bufio.Reader
	read  int
}

// Open begins at the first record.
func Open() (*Reader, error) {
	r := &Reader{}
	text, err := files.ReadFile("data/manifest.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &r.manifest); err != nil {
		return nil, fmt.Errorf("reading the recording's manifest: %w", err)
	}
	for _, total := range r.manifest.Totals {
		t, err := openTape(total)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("opening the recording of %s: %w", total.Topic, err), r.Close())
		}
		r.tapes = append(r.tapes, t)
	}
	return r, nil
}

func openTape(total Total) (*tape, error) {
	f, err := files.Open("data/" + total.Topic + ".jsonl.zst")
	if err != nil {
		return nil, err
	}
	// One goroutine for each of dozens of topics would decode ahead for nothing.
	z, err := zstd.NewReader(f, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &tape{Total: total, file: f, zstd: z, lines: bufio.NewReader(z)}, nil
}

// Version changes with any record.
func (r *Reader) Version() string { return r.manifest.Version }

// Totals counts the records of each topic, in the order of their names.
func (r *Reader) Totals() []Total { return r.manifest.Totals }

// Records is how many records there are.
func (r *Reader) Records() int {
	n := 0
	for _, total := range r.manifest.Totals {
		n += total.Records
	}
	return n
}

// Next returns the next record, which the caller may keep, or io.EOF. Within a
// topic the records come in the order in which they were received; the topics
// are mixed so that all of them end together. The order is always the same.
func (r *Reader) Next() (Record, error) {
	var next *tape
	for _, t := range r.tapes {
		if t.read < t.Records && (next == nil || t.progress() < next.progress()) {
			next = t
		}
	}
	if next == nil {
		return Record{}, io.EOF
	}
	record, err := next.next()
	if err != nil {
		return Record{}, fmt.Errorf("reading record %d of the recording of %s: %w", next.read, next.Topic, err)
	}
	return record, nil
}

// progress is the share of the tape that is read once its next record is.
func (t *tape) progress() float64 { return float64(t.read+1) / float64(t.Records) }

// next reads a line: the key, a tab, the value.
func (t *tape) next() (Record, error) {
	line, err := t.lines.ReadBytes('\n')
	if errors.Is(err, io.EOF) {
		return Record{}, io.ErrUnexpectedEOF
	}
	if err != nil {
		return Record{}, err
	}
	key, value, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte("\t"))
	if !ok {
		return Record{}, errors.New("the line has no tab between key and value")
	}
	at, err := timeOf(value)
	if err != nil {
		return Record{}, err
	}
	t.read++
	return Record{Topic: t.Topic, Key: key, Value: value, Time: at}, nil
}

// timeOf finds the time in a value that marketdata.AppendJSON wrote.
func timeOf(value []byte) (time.Time, error) {
	_, rest, ok := bytes.Cut(value, []byte(`"time":"`))
	if !ok {
		return time.Time{}, errors.New("the value has no time")
	}
	text, _, _ := bytes.Cut(rest, []byte(`"`))
	return time.Parse(time.RFC3339Nano, string(text))
}

// Close frees the decoders.
func (r *Reader) Close() error {
	var errs []error
	for _, t := range r.tapes {
		t.zstd.Close()
		errs = append(errs, t.file.Close())
	}
	r.tapes = nil
	return errors.Join(errs...)
}
