package e2e

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// replica is one process of the connector.
type replica struct {
	t      testing.TB
	id     string // its group.instance.id
	config string
	cmd    *exec.Cmd
	log    *logText
	done   chan struct{} // closed when the process has ended
	// replaced says that the test ended the process and goes on without it: its log
	// is not shown at the end.
	replaced atomic.Bool
}

// logText is a process's log, as far as it is written.
type logText struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// tail gives the last lines.
func (l *logText) tail(lines int) string {
	all := strings.Split(strings.TrimSpace(l.String()), "\n")
	if len(all) > lines {
		all = append([]string{fmt.Sprintf("(%d lines before)", len(all)-lines)}, all[len(all)-lines:]...)
	}
	return strings.Join(all, "\n")
}

// startReplica starts a process with a configuration file and does not wait for
// it. The end of the test kills it, shows its log where the test failed, and
// fails the test where the log tells of a data race or a panic.
func startReplica(t testing.TB, id, config string) *replica {
	t.Helper()
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	return startProgram(t, path, id, config)
}

func startProgram(t testing.TB, path, id, config string) *replica {
	t.Helper()
	r := &replica{t: t, id: id, config: config, log: &logText{}, done: make(chan struct{})}
	r.cmd = exec.Command(path, "run", "-c", config)
	r.cmd.Stderr = r.log
	// A race is found in the log; the exit code says how the connector ended.
	r.cmd.Env = append(os.Environ(), "GORACE=exitcode=0")
	dieWithUs(r.cmd)
	started := make(chan error, 1)
	go func() {
		// Never unlocked: the thread's end would be the process's.
		runtime.LockOSThread()
		err := r.cmd.Start()
		started <- err
		if err == nil {
			_ = r.cmd.Wait() // how it ended is in ProcessState
		}
		close(r.done)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.kill()
		if fault := faultIn(r.log.String()); fault != "" {
			t.Errorf("replica %s says:\n%.6000s", id, fault)
			return
		}
		if t.Failed() && !r.replaced.Load() {
			t.Logf("the log of replica %s ends with:\n%s", id, r.log.tail(60))
		}
	})
	return r
}

func (r *replica) running() bool {
	select {
	case <-r.done:
		return false
	default:
		return true
	}
}

// signal sends a signal to a process that may have ended.
func (r *replica) signal(s syscall.Signal) { _ = r.cmd.Process.Signal(s) }

// kill ends the process at once and waits until it is gone.
func (r *replica) kill() {
	r.signal(syscall.SIGKILL)
	<-r.done
}

// terminate asks the process to end, and returns how long it took. The exit code
// must be 0.
func (r *replica) terminate(within time.Duration) time.Duration {
	r.t.Helper()
	began := time.Now()
	r.signal(syscall.SIGTERM)
	r.waitEnded(within)
	return time.Since(began)
}

// waitEnded waits for a process that was asked to end.
func (r *replica) waitEnded(within time.Duration) {
	r.t.Helper()
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-r.done:
	case <-timer.C:
		r.t.Fatalf("replica %s still runs %v after SIGTERM", r.id, within)
	}
	if code := r.cmd.ProcessState.ExitCode(); code != 0 {
		r.t.Errorf("replica %s ended with code %d after SIGTERM", r.id, code)
	}
}

// waitLog waits until the log holds the text.
func (r *replica) waitLog(text string) {
	r.t.Helper()
	eventually(r.t, limit, func() string {
		switch {
		case strings.Contains(r.log.String(), text):
			return ""
		case !r.running():
			r.t.Fatalf("replica %s has ended; its log ends with:\n%s", r.id, r.log.tail(20))
		}
		return fmt.Sprintf("the log of replica %s does not say %q", r.id, text)
	})
}

// waitServing waits until the process serves, and returns where.
func (r *replica) waitServing() string {
	r.t.Helper()
	const sign = "msg=serving listeners="
	r.waitLog(sign)
	_, rest, _ := strings.Cut(r.log.String(), sign)
	address, _, _ := strings.Cut(rest, " ")
	return address
}

// get asks the replica's HTTP server. The code is 0 where it does not answer.
func (r *replica) get(path string) (code int, body string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.waitServing()+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(answer)
}

// waitHealth waits until /health answers with the code and the words.
func (r *replica) waitHealth(code int, words ...string) {
	r.t.Helper()
	eventually(r.t, limit, func() string {
		got, body := r.get("/health")
		missing := fmt.Sprintf("GET /health of replica %s gives %d %s, want %d with %q", r.id, got, strings.TrimSpace(body), code, words)
		if got != code {
			return missing
		}
		for _, w := range words {
			if !strings.Contains(body, w) {
				return missing
			}
		}
		return ""
	})
}

func writeFile(t testing.TB, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
