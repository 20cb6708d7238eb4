package files

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// Stdin is the name that means standard input.
const Stdin = "-"

const (
	headBytes = 64 << 10
	// zstdWindowMax bounds what a zstd stream may ask for.
	zstdWindowMax = 512 << 20
)

// input is a file or a stream, as uncompressed bytes.
type input struct {
	name string // as it was given
	// path is absolute; "" for a stream, whose place cannot be kept.
	path   string
	size   int64 // in compressed bytes; -1 for a stream
	since  time.Time
	head   []byte // the first headBytes, of a file
	packed string // how it is compressed; "" for not at all
	read   *atomic.Int64
	reader io.Reader
	file   io.ReadSeeker // nil for a stream
	close  []func()
}

// checkPath says what is wrong with a path before anything is published.
func checkPath(path string) error {
	if path == Stdin {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no such file", path)
	case err != nil:
		return err
	case info.IsDir():
		return fmt.Errorf("%s is a folder: name the files in it, as in %s", path, filepath.Join(path, "*.jsonl"))
	}
	return nil
}

// openInput opens a file. read counts the compressed bytes; ctx ends a read that
// waits for a stream.
func openInput(ctx context.Context, name string, stdin io.Reader, read *atomic.Int64) (*input, error) {
	in := &input{name: name, size: -1, read: read}
	raw := stdin
	if name != Stdin {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		in.close = append(in.close, func() { f.Close() })
		info, err := f.Stat()
		if err == nil && info.Mode().IsRegular() {
			err = in.identify(f, info)
		}
		if err != nil {
			in.Close()
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		raw = f
	}
	if in.path == "" {
		raw = interruptible(ctx, raw)
	}
	if err := in.unpack(raw); err != nil {
		in.Close()
		return nil, err
	}
	return in, nil
}

func (in *input) Close() {
	for _, f := range in.close {
		f()
	}
}

func (in *input) identify(f *os.File, info os.FileInfo) error {
	path, err := filepath.Abs(in.name)
	if err != nil {
		return err
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	head := make([]byte, min(info.Size(), headBytes))
	n, err := f.ReadAt(head, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	in.path, in.file, in.size, in.since, in.head = path, f, info.Size(), info.ModTime(), head[:n]
	return nil
}

// headHash is that of the file's first bytes.
func (in *input) headHash(n int64) string { return hash(in.head[:min(n, int64(len(in.head)))]) }

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// unpack looks at how the bytes begin, whatever the name says.
func (in *input) unpack(raw io.Reader) error {
	buffered := bufio.NewReaderSize(&counter{raw, in.read}, 256<<10)
	begin, err := buffered.Peek(6)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading %s: %w", in.name, err)
	}
	in.reader = buffered
	is := func(magic string) bool { return bytes.HasPrefix(begin, []byte(magic)) }
	switch {
	case is("\x1f\x8b"):
		in.packed = "gzip"
		in.reader = &late{open: func() (io.Reader, error) { return gzip.NewReader(buffered) }}
	case is("\x28\xb5\x2f\xfd"), len(begin) >= 4 && begin[0]&0xf0 == 0x50 && string(begin[1:4]) == "\x2a\x4d\x18":
		in.packed = "zstd"
		// One block after the other: what comes before a damaged one is read.
		d, err := zstd.NewReader(buffered, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindowMax))
		if err != nil {
			return fmt.Errorf("reading %s: %w", in.name, err)
		}
		in.close = append(in.close, d.Close)
		in.reader = d
	case is("BZh"), is("\xfd7zXZ\x00"), is("PK\x03\x04"), is("7z\xbc\xaf"), is("\x04\x22\x4d\x18"):
		return fmt.Errorf("%s is compressed in a form that is not read here: unpack it, or pack it with gzip or zstd; or send it through a pipe, as in: xz -dc FILE | connector publish -", in.name)
	}
	return nil
}

// late is a reader whose beginning is read with the first byte, so that a cut
// header is an error of reading like any other.
type late struct {
	open   func() (io.Reader, error)
	reader io.Reader
}

func (l *late) Read(p []byte) (int, error) {
	if l.reader == nil {
		r, err := l.open()
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		l.reader = r
	}
	return l.reader.Read(p)
}

// counter counts what is read.
type counter struct {
	io.Reader
	n *atomic.Int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

// interruptible ends reads when ctx ends. The goroutine that reads a stream which
// says nothing more is left behind: nothing else ends such a read.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	out, in := io.Pipe()
	go func() {
		_, err := io.Copy(in, r)
		in.CloseWithError(err)
	}()
	context.AfterFunc(ctx, func() { in.CloseWithError(context.Cause(ctx)) })
	return out
}
