package timescalesink

import (
	"bytes"
	"net"
	"net/url"
	"sync"
	"testing"
)

// proxy stands between the sink and the database, and breaks what a network breaks.
type proxy struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	pairs   map[*pair]bool
	down    bool
	stalled chan struct{} // closed when the stall ends; nil without one
	// loseAnswer, where set, cuts the connection once the server has answered a
	// statement that the client's bytes contain.
	loseAnswer []byte
	// cutBefore, where set, cuts it before the server gets such a statement.
	cutBefore []byte
	wg        sync.WaitGroup
}

type pair struct {
	client, server net.Conn
	cut            bool // the next answer is lost
}

// newProxy starts a proxy and returns it with the URL that leads through it.
func newProxy(t testing.TB, databaseURL string) (*proxy, string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := relay(t, l, u.Host)
	u.Host = l.Addr().String()
	query := u.Query()
	query.Set("sslmode", "disable")
	u.RawQuery = query.Encode()
	return p, u.String()
}

// relay has a listener lead to target.
func relay(t testing.TB, l net.Listener, target string) *proxy {
	p := &proxy{listener: l, target: target, pairs: map[*pair]bool{}}
	p.wg.Go(p.accept)
	t.Cleanup(func() {
		p.setDown(true)
		l.Close()
		p.wg.Wait()
	})
	return p
}

func (p *proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		if down {
			client.Close()
			continue
		}
		server, err := net.Dial("tcp", p.target)
		if err != nil {
			client.Close()
			continue
		}
		c := &pair{client: client, server: server}
		p.mu.Lock()
		p.pairs[c] = true
		p.mu.Unlock()
		p.wg.Go(func() { p.forward(c, client, server, true) })
		p.wg.Go(func() { p.forward(c, server, client, false) })
	}
}

func (p *proxy) forward(c *pair, from, to net.Conn, fromClient bool) {
	defer func() {
		c.client.Close()
		c.server.Close()
		p.mu.Lock()
		delete(p.pairs, c)
		p.mu.Unlock()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			if !p.pass(c, buf[:n], fromClient) {
				return
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass says whether bytes may go on, after a stall.
func (p *proxy) pass(c *pair, data []byte, fromClient bool) bool {
	p.mu.Lock()
	stalled := p.stalled
	p.mu.Unlock()
	if stalled != nil {
		<-stalled
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		return false
	}
	if !fromClient {
		return !c.cut
	}
	if len(p.cutBefore) > 0 && bytes.Contains(data, p.cutBefore) {
		p.cutBefore = nil
		return false
	}
	if len(p.loseAnswer) > 0 && bytes.Contains(data, p.loseAnswer) {
		p.loseAnswer, c.cut = nil, true
	}
	return true
}

// setDown cuts all connections and refuses others, or takes them again.
func (p *proxy) setDown(down bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = down
	if down {
		for c := range p.pairs {
			c.client.Close()
			c.server.Close()
		}
		if p.stalled != nil {
			close(p.stalled)
			p.stalled = nil
		}
	}
}

// stall holds back all bytes until free is called.
func (p *proxy) stall() (free func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	stalled := make(chan struct{})
	p.stalled = stalled
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.stalled == stalled {
			close(stalled)
			p.stalled = nil
		}
	}
}

func (p *proxy) loseAnswerTo(statement string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.loseAnswer = []byte(statement)
}

func (p *proxy) cutBeforeStatement(statement string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cutBefore = []byte(statement)
}
