package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// brokerProcess is the in-process broker in a process of its own, which may be
// killed: what it acknowledged is on the disk.
type brokerProcess struct {
	t       testing.TB
	brokers []string
	dir     string
	cmd     *exec.Cmd
	done    chan struct{}
}

func startBrokerProcess(t testing.TB) *brokerProcess {
	t.Helper()
	b := &brokerProcess{t: t, dir: t.TempDir()}
	b.start(0)
	t.Cleanup(b.kill)
	return b
}

func (b *brokerProcess) start(port int) {
	b.t.Helper()
	path, err := brokerProgram()
	if err != nil {
		b.t.Fatal(err)
	}
	b.cmd = exec.Command(path, "-dir", b.dir, "-port", fmt.Sprint(port))
	dieWithUs(b.cmd)
	// Its standard input stays open as long as we have it.
	if _, err := b.cmd.StdinPipe(); err != nil {
		b.t.Fatal(err)
	}
	out, err := b.cmd.StdoutPipe()
	if err != nil {
		b.t.Fatal(err)
	}
	b.done = make(chan struct{})
	line := make(chan string, 1)
	go func(cmd *exec.Cmd, done chan struct{}) {
		runtime.LockOSThread() // as in startReplica
		defer close(done)
		if err := cmd.Start(); err != nil {
			line <- ""
			return
		}
		text, _ := bufio.NewReader(out).ReadString('\n')
		line <- text
		_ = cmd.Wait() // it is killed
	}(b.cmd, b.done)
	addresses := strings.TrimSpace(<-line)
	if addresses == "" {
		b.t.Fatal("the broker does not start")
	}
	b.brokers = strings.Split(addresses, ",")
}

func (b *brokerProcess) kill() {
	if b.cmd.Process != nil {
		_ = b.cmd.Process.Kill() // it may have ended by itself
	}
	<-b.done
}

// restart kills the broker and starts it again on its port.
func (b *brokerProcess) restart(context.Context) error {
	b.kill()
	_, port, err := net.SplitHostPort(b.brokers[0])
	if err != nil {
		return err
	}
	var n int
	if _, err := fmt.Sscan(port, &n); err != nil {
		return err
	}
	b.start(n)
	return nil
}

// TestBrokerRestarts: the broker is killed and comes back while records move.
// The in-process broker forgets with its end which records a producer has already
// sent, so there nothing is produced in that moment.
func TestBrokerRestarts(t *testing.T) {
	t.Parallel()
	run := func(t *testing.T, brokers []string, quiet bool, restart func(context.Context) error) {
		s := newStack(t, brokers)
		p := s.newStream(3)
		r := s.start("replica-0")
		p.run()
		s.waitMoving()
		for range 2 {
			if quiet {
				p.stop()
			}
			if err := restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			if quiet {
				p.run()
			}
			s.waitMoving()
		}
		p.stop()
		s.checkAccount()
		r.waitHealth(http.StatusOK)
		r.terminate(limit)
	}
	t.Run("kfake", func(t *testing.T) {
		b := startBrokerProcess(t)
		run(t, b.brokers, true, b.restart)
	})
	t.Run("kafka", func(t *testing.T) {
		k := testenv.OwnKafka(t)
		run(t, k.Brokers(), false, func(ctx context.Context) error {
			if err := k.Kill(); err != nil {
				return err
			}
			return k.Restart(ctx)
		})
	})
}

// TestBrokerAway: without a broker the connector waits, says so, and goes on
// once it is there.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	b := startBrokerProcess(t)
	s := newStack(t, b.brokers)
	p := s.newStream(1)
	p.send(50)
	b.kill()
	r := s.start("replica-0")
	r.waitHealth(http.StatusServiceUnavailable, "reading topics")
	if err := b.restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.checkAccount()
	r.terminate(limit)
}
