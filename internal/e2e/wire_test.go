package e2e

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// wire is a proxy between a replica and the database that knows enough of
// PostgreSQL's protocol to see rows and COMMIT go by, so that faults come at
// chosen points.
type wire struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns map[*wireConn]bool
	fault *fault // for the next connection that comes to its point
}

// point is where in a transaction a fault comes.
type point int

const (
	atCommit point = iota // COMMIT of a Put
	atRows                // a piece of a COPY
)

// fault is what happens to one connection at a point. A function that returns
// false has the connection cut.
type fault struct {
	at point
	// before is called with the statement in hand, which the server has not seen.
	before func() bool
	// after is called with the server's answer to COMMIT in hand, which the client
	// has not seen. It may be nil.
	after func() bool
}

type wireConn struct {
	wire           *wire
	client, server net.Conn
	mu             sync.Mutex
	after          func() bool // waits for the answer to COMMIT
}

var errCut = errors.New("cut on purpose")

// newWire starts a proxy and returns it with the URL that leads through it.
func newWire(t testing.TB, databaseURL string) (*wire, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{listener: l, target: u.Host, conns: map[*wireConn]bool{}}
	w.wg.Go(w.accept)
	t.Cleanup(func() {
		l.Close()
		w.cut()
		w.wg.Wait()
	})
	u.Host = l.Addr().String()
	query := u.Query()
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	return w, u.String()
}

func (w *wire) accept() {
	for {
		client, err := w.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", w.target)
		if err != nil {
			client.Close()
			continue
		}
		c := &wireConn{wire: w, client: client, server: server}
		w.mu.Lock()
		w.conns[c] = true
		w.mu.Unlock()
		w.wg.Go(func() { c.close(c.forward()) })
		w.wg.Go(func() { c.close(c.backward()) })
	}
}

// close ends both sides: what one of them did not get it never gets.
func (c *wireConn) close(error) {
	c.client.Close()
	c.server.Close()
	c.wire.mu.Lock()
	defer c.wire.mu.Unlock()
	delete(c.wire.conns, c)
}

// cut ends all connections.
func (w *wire) cut() {
	w.mu.Lock()
	conns := make([]*wireConn, 0, len(w.conns))
	for c := range w.conns {
		conns = append(conns, c)
	}
	w.mu.Unlock()
	for _, c := range conns {
		c.close(errCut)
	}
}

// arm sets the fault for the next connection that comes to its point; nil takes
// back one that has not come yet.
func (w *wire) arm(f *fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.fault = f
}

func (w *wire) take(at point) *fault {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := w.fault
	if f == nil || f.at != at {
		return nil
	}
	w.fault = nil
	return f
}

// forward passes the client's messages on: first the one without a type, then
// those with a type and a length.
func (c *wireConn) forward() error {
	in, out := bufio.NewReaderSize(c.client, 64<<10), bufio.NewWriterSize(c.server, 64<<10)
	head := make([]byte, 5)
	if _, err := io.ReadFull(in, head[:4]); err != nil {
		return err
	}
	if err := passOn(in, out, head[:4], int64(binary.BigEndian.Uint32(head))-4); err != nil {
		return err
	}
	for {
		if err := readHead(in, out, head); err != nil {
			return err
		}
		size := int64(binary.BigEndian.Uint32(head[1:])) - 4
		if err := c.beforeMessage(head[0], in, out, size); err != nil {
			return err
		}
		if err := passOn(in, out, head, size); err != nil {
			return err
		}
	}
}

// beforeMessage looks at a message that is still to come and carries out a fault.
func (c *wireConn) beforeMessage(kind byte, in *bufio.Reader, out *bufio.Writer, size int64) error {
	var f *fault
	switch {
	case kind == 'd':
		f = c.wire.take(atRows)
	case kind == 'P' && size < 64:
		body, err := in.Peek(int(size))
		if err != nil {
			return err
		}
		if bytes.Contains(body, []byte("\x00COMMIT\x00")) {
			f = c.wire.take(atCommit)
		}
	}
	if f == nil {
		return nil
	}
	// The server has all that came before.
	if err := out.Flush(); err != nil {
		return err
	}
	if !f.before() {
		return errCut
	}
	c.mu.Lock()
	c.after = f.after
	c.mu.Unlock()
	return nil
}

// backward passes the server's messages on.
func (c *wireConn) backward() error {
	in, out := bufio.NewReaderSize(c.server, 64<<10), bufio.NewWriterSize(c.client, 64<<10)
	head := make([]byte, 5)
	for {
		if err := readHead(in, out, head); err != nil {
			return err
		}
		size := int64(binary.BigEndian.Uint32(head[1:])) - 4
		if head[0] == 'C' && size == 7 {
			body, err := in.Peek(int(size))
			if err != nil {
				return err
			}
			c.mu.Lock()
			after := c.after
			c.mu.Unlock()
			if after != nil && string(body) == "COMMIT\x00" {
				if err := out.Flush(); err != nil {
					return err
				}
				if !after() {
					return errCut
				}
				c.mu.Lock()
				c.after = nil
				c.mu.Unlock()
			}
		}
		if err := passOn(in, out, head, size); err != nil {
			return err
		}
	}
}

// readHead reads a message's type and length; what was passed on before goes out
// where nothing more is there yet.
func readHead(in *bufio.Reader, out *bufio.Writer, head []byte) error {
	if in.Buffered() == 0 {
		if err := out.Flush(); err != nil {
			return err
		}
	}
	_, err := io.ReadFull(in, head)
	return err
}

func passOn(in *bufio.Reader, out *bufio.Writer, head []byte, size int64) error {
	if _, err := out.Write(head); err != nil {
		return err
	}
	_, err := io.CopyN(out, in, size)
	return err
}

// disarm takes back a fault, and says whether it had not yet come.
func (w *wire) disarm(f *fault) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fault != f {
		return false
	}
	w.fault = nil
	return true
}
