package ingest

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/klauspost/compress/zstd"
)

// form is how a body holds its records.
type form uint8

const (
	formJSON  form = iota // an object, or an array of objects
	formLines             // an object a line
)

// body is what was read of a request, and where its records lie in it.
type body struct {
	bytes.Buffer
	values [][]byte // within the Buffer
	// list says that there may be several records: paths then have an index.
	list bool
}

// formOf reads the Content-Type.
func formOf(h http.Header) (form, *reply) {
	const advice = "send application/json (an object, or an array of objects), or application/x-ndjson or application/jsonl (an object a line)"
	given := h.Get("Content-Type")
	if given == "" {
		return 0, fail(http.StatusUnsupportedMediaType, "Content-Type is missing: "+advice)
	}
	name, parameters, err := mime.ParseMediaType(given)
	if charset := parameters["charset"]; err != nil || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return 0, fail(http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Type %.100q cannot be read: %s, in UTF-8", given, advice))
	}
	switch name {
	case "application/json":
		return formJSON, nil
	case "application/x-ndjson", "application/jsonl":
		return formLines, nil
	}
	return 0, fail(http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Type %.100q is not taken: %s", given, advice))
}

// encodingOf reads the Content-Encoding: "", gzip or zstd.
func encodingOf(h http.Header) (string, *reply) {
	switch name := strings.ToLower(strings.TrimSpace(strings.Join(h.Values("Content-Encoding"), ", "))); name {
	case "", "identity":
		return "", nil
	case "gzip", "zstd":
		return name, nil
	default:
		r := fail(http.StatusUnsupportedMediaType, fmt.Sprintf("Content-Encoding %.100q is not taken: send gzip, zstd or none", name))
		r.header.Set("Accept-Encoding", "gzip, zstd")
		return "", r
	}
}

// windowBytesMax bounds what a zstd frame may make the decoder hold; 8 MiB is
// what RFC 8878 asks of every decoder.
const windowBytesMax = 8 << 20

// decoders are used again, since each holds buffers of its own.
type decoders struct{ gzip, zstd sync.Pool }

// decompress gives what reads the decompressed bytes, and what hands the decoder
// back.
func (d *decoders) decompress(encoding string, from io.Reader) (io.Reader, func(), error) {
	switch encoding {
	case "gzip":
		r, ok := d.gzip.Get().(*gzip.Reader)
		if !ok {
			r = new(gzip.Reader)
		}
		back := func() {
			_ = r.Reset(strings.NewReader("")) // so that the request can be freed
			d.gzip.Put(r)
		}
		return r, back, r.Reset(from)
	case "zstd":
		r, ok := d.zstd.Get().(*zstd.Decoder)
		if !ok {
			var err error
			// With one goroutine, the caller's, a decoder that is dropped leaves nothing.
			r, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(windowBytesMax), zstd.WithDecoderLowmem(true))
			if err != nil {
				return nil, func() {}, err
			}
		}
		back := func() {
			_ = r.Reset(nil) // so that the request can be freed
			d.zstd.Put(r)
		}
		return r, back, r.Reset(from)
	}
	return from, func() {}, nil
}

// read reads a request's body, decompressed, up to the limit.
func (s *Server) read(w http.ResponseWriter, r *http.Request, encoding string, into *body) *reply {
	limit := s.opts.BodyBytesMax
	tooLarge := fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body is above %d bytes, as sent or decompressed: send fewer records in a request", limit))
	if r.ContentLength > limit {
		return tooLarge
	}
	sent := http.MaxBytesReader(w, r.Body, limit)
	from, back, err := s.decoders.decompress(encoding, sent)
	defer back()
	if err == nil {
		if encoding == "" && r.ContentLength > 0 {
			into.Grow(int(r.ContentLength) + bytes.MinRead)
		}
		_, err = into.ReadFrom(io.LimitReader(from, limit+1))
	}
	var bound *http.MaxBytesError
	switch {
	case errors.As(err, &bound), int64(into.Len()) > limit:
		return tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		answer := fail(http.StatusRequestTimeout, fmt.Sprintf("the body did not come within %s; nothing was published", s.opts.ReadTimeout))
		answer.header.Set("Connection", "close")
		return answer
	case errors.Is(err, zstd.ErrWindowSizeExceeded):
		return fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the zstd frame wants a window above %d bytes: compress it without --long", windowBytesMax))
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return fail(http.StatusBadRequest, "the body is truncated"+within(encoding)+"; nothing was published: send it again")
	case err != nil:
		return fail(http.StatusBadRequest, "the body is corrupt"+within(encoding)+"; nothing was published: send it again")
	}
	return nil
}

func within(encoding string) string {
	if encoding == "" {
		return ""
	}
	return " within its " + encoding + " encoding"
}

// split finds the records of the body. Where it cannot tell where they begin and
// end, the whole body is refused: nothing was published yet, so it can be mended
// and sent again.
func (b *body) split(f form, recordsMax int) *reply {
	b.values = b.values[:0]
	var r *reply
	if f == formLines {
		b.list = true
		r = b.lines(recordsMax)
	} else {
		r = b.json(recordsMax)
	}
	if r == nil && len(b.values) == 0 {
		return fail(http.StatusBadRequest, "the body holds no record")
	}
	return r
}

func tooMany(recordsMax int) *reply {
	return fail(http.StatusRequestEntityTooLarge, fmt.Sprintf("the body holds more than %d records; nothing was published: send fewer in a request", recordsMax))
}

// lines takes each line that is not blank for a record. What stands in it is
// looked at later, and costs no other line.
func (b *body) lines(recordsMax int) *reply {
	rest := b.Bytes()
	for len(rest) > 0 {
		line, after, ended := bytes.Cut(rest, []byte{'\n'})
		rest = after
		if line = bytes.Trim(line, " \t\r"); len(line) == 0 {
			continue
		}
		if len(b.values) == recordsMax {
			return tooMany(recordsMax)
		}
		if !ended && endsEarly(line) {
			return fail(http.StatusBadRequest, fmt.Sprintf("the body is truncated: it ends within record %d; nothing was published: send it again", len(b.values)))
		}
		b.values = append(b.values, line)
	}
	return nil
}

// endsEarly says whether more bytes could make the text a JSON value.
func endsEarly(text []byte) bool {
	var raw json.RawMessage
	return errors.Is(json.NewDecoder(bytes.NewReader(text)).Decode(&raw), io.ErrUnexpectedEOF)
}

// json cuts an object or the elements of an array out of the body. They stay the
// bytes that were sent; nothing is decoded.
func (b *body) json(recordsMax int) *reply {
	all := b.Bytes()
	begin := bytes.TrimLeft(all, " \t\r\n")
	if len(begin) > 0 && begin[0] == '{' && json.Valid(begin) { // without the decoder's copies
		b.list, b.values = false, append(b.values, bytes.TrimRight(begin, " \t\r\n"))
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(all))
	var raw json.RawMessage
	value := func() error {
		if err := d.Decode(&raw); err != nil {
			return err
		}
		end := d.InputOffset()
		b.values = append(b.values, all[end-int64(len(raw)):end])
		return nil
	}
	bad := func(err error) *reply {
		var syntax *json.SyntaxError
		switch {
		case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
			return fail(http.StatusBadRequest, fmt.Sprintf("the body is truncated: it ends after byte %d within record %d; nothing was published: send it again", len(all), len(b.values)))
		case errors.As(err, &syntax):
			return fail(http.StatusBadRequest, fmt.Sprintf("the body is not JSON: after byte %d, in record %d: %v; nothing was published", d.InputOffset(), len(b.values), err))
		}
		return fail(http.StatusBadRequest, fmt.Sprintf("the body is not JSON: %v; nothing was published", err))
	}
	switch {
	case len(begin) == 0:
		return nil
	case begin[0] == '{':
		b.list = false
		if err := value(); err != nil {
			return bad(err)
		}
	case begin[0] == '[':
		b.list = true
		if _, err := d.Token(); err != nil {
			return bad(err)
		}
		for d.More() {
			if len(b.values) == recordsMax {
				return tooMany(recordsMax)
			}
			if err := value(); err != nil {
				return bad(err)
			}
		}
		if _, err := d.Token(); err != nil {
			return bad(err)
		}
	default:
		return fail(http.StatusBadRequest, "the body is neither a JSON object nor an array of objects; nothing was published")
	}
	if after := bytes.TrimLeft(all[d.InputOffset():], " \t\r\n"); len(after) > 0 {
		return fail(http.StatusBadRequest, fmt.Sprintf("more follows after the JSON value that ends at byte %d; nothing was published: send an array, or application/x-ndjson for an object a line", d.InputOffset()))
	}
	return nil
}
