package e2e

import (
	"context"
	"net"
	"net/url"
	"sync"
	"testing"
)

// gate is a way to a database that can be shut, as the network between them may
// be: what goes through a silent one waits, and a closed one ends connections.
type gate struct {
	listener net.Listener
	target   string
	wg       sync.WaitGroup

	mu     sync.Mutex
	state  gateState
	opened chan struct{} // closed while the gate is not silent
	conns  map[net.Conn]bool
}

type gateState int

const (
	gateOpen gateState = iota
	gateSilent
	gateClosed
)

// newGate makes an open gate and returns it with the URL that leads through it.
func newGate(t testing.TB, databaseURL string) (*gate, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{listener: l, target: u.Host, opened: make(chan struct{}), conns: map[net.Conn]bool{}}
	close(g.opened)
	ctx, cancel := context.WithCancel(context.Background())
	g.wg.Go(func() { g.accept(ctx) })
	t.Cleanup(func() {
		cancel()
		l.Close()
		g.set(gateClosed)
		g.wg.Wait()
	})
	u.Host = l.Addr().String()
	return g, u.String()
}

// set changes the state. Connections that stood still end with the silence, as
// they would once the network is back and knows nothing of them.
func (g *gate) set(state gateState) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if state == gateSilent && g.state != gateSilent {
		g.opened = make(chan struct{})
	}
	if state == gateClosed || g.state == gateSilent && state != gateSilent {
		for c := range g.conns {
			c.Close()
		}
	}
	if g.state == gateSilent && state != gateSilent {
		close(g.opened)
	}
	g.state = state
}

func (g *gate) accept(ctx context.Context) {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.wg.Go(func() {
			defer client.Close()
			if !g.enter(client) {
				return
			}
			defer g.leave(client)
			server, err := new(net.Dialer).DialContext(ctx, "tcp", g.target)
			if err != nil {
				return
			}
			defer server.Close()
			if !g.enter(server) {
				return
			}
			defer g.leave(server)
			var both sync.WaitGroup
			both.Go(func() { g.pass(server, client) })
			both.Go(func() { g.pass(client, server) })
			both.Wait()
		})
	}
}

func (g *gate) enter(c net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.state == gateClosed {
		return false
	}
	g.conns[c] = true
	return true
}

func (g *gate) leave(c net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
}

// pass copies until one side ends, and then ends both.
func (g *gate) pass(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		g.mu.Lock()
		opened := g.opened
		g.mu.Unlock()
		<-opened
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}
