package files

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// line is one line of a file.
type line struct {
	offset int64  // of its first byte, uncompressed
	number int64  // from 1
	raw    []byte // with its newline, until the next call; only the beginning of a long one
	long   bool   // the rest is still to be read
}

// ended says whether the line has its newline.
func (l *line) ended() bool { return l.long || bytes.HasSuffix(l.raw, newline) }

// text is the line without what ends it.
func (l *line) text() []byte {
	return bytes.TrimSuffix(bytes.TrimSuffix(l.raw, newline), []byte("\r"))
}

var newline = []byte("\n")

// lines reads lines and holds no more of one in memory than the limit.
type lines struct {
	in     *bufio.Reader
	max    int
	offset int64 // of what is read next
	number int64 // of the line that was read last
	buf    []byte
	rest   bool
}

func newLines(r io.Reader, maxBytes int) *lines {
	return &lines{in: bufio.NewReaderSize(r, 64<<10), max: maxBytes}
}

// next gives the next line, io.EOF at the end. After any other error offset is
// where the line begins that could not be read.
func (l *lines) next() (line, error) {
	if l.rest {
		if err := l.skipRest(io.Discard); err != nil {
			return line{}, err
		}
	}
	l.buf = l.buf[:0]
	for {
		part, err := l.in.ReadSlice('\n')
		l.buf = append(l.buf, part...)
		switch {
		case err == nil, errors.Is(err, io.EOF) && len(l.buf) > 0:
		case errors.Is(err, bufio.ErrBufferFull) && len(l.buf) <= l.max:
			continue
		case errors.Is(err, bufio.ErrBufferFull):
			l.rest = true
		default:
			return line{}, err
		}
		l.number++
		at := line{offset: l.offset, number: l.number, raw: l.buf, long: l.rest}
		l.offset += int64(len(l.buf))
		return at, nil
	}
}

// skipRest copies what is left of a long line.
func (l *lines) skipRest(to io.Writer) error {
	for l.rest {
		part, err := l.in.ReadSlice('\n')
		l.offset += int64(len(part))
		if _, err := to.Write(part); err != nil {
			return err
		}
		switch {
		case err == nil, errors.Is(err, io.EOF):
			l.rest = false
		case !errors.Is(err, bufio.ErrBufferFull):
			return err
		}
	}
	return nil
}

// skipTo goes on to an offset and gives the hash of the bytes from the offset
// last to there.
func (l *lines) skipTo(last, offset, number int64) (string, error) {
	if last < l.offset || offset < last {
		return "", nil // the header alone lies before it
	}
	if _, err := io.CopyN(io.Discard, l.in, last-l.offset); err != nil {
		return "", early(err)
	}
	sum := sha256.New()
	if _, err := io.CopyN(sum, l.in, offset-last); err != nil {
		return "", early(err)
	}
	l.offset, l.number = offset, number
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func early(err error) error {
	if errors.Is(err, io.EOF) {
		return fmt.Errorf("it ends before the saved place: %w", io.ErrUnexpectedEOF)
	}
	return err
}

// restart goes on with another reader, which is at the offset.
func (l *lines) restart(r io.Reader, offset int64) {
	l.in.Reset(r)
	l.offset = offset
}
