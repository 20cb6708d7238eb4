package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// worker writes a configuration file without connectors: they come over REST.
func (s *stack) worker(id string) string {
	s.t.Helper()
	file := s.config(id, nil, "")
	return writeFile(s.t, "worker.yaml", strings.SplitN(readFile(s.t, file), "connectors:\n", 2)[0])
}

// overREST is the stack's connector as REST takes it.
func (s *stack) overREST(more map[string]string) string {
	keys := s.keys()
	maps.Copy(keys, more)
	text, err := json.Marshal(keys)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}

// call sends a request to a replica that may be killed meanwhile: then the code is 0.
func (r *replica) call(ctx context.Context, method, path, body string) (code int, answer string) {
	select {
	case <-r.done:
		return 0, ""
	default:
	}
	_, rest, serves := strings.Cut(r.log.String(), "msg=serving listeners=")
	if !serves {
		return 0, ""
	}
	address, _, _ := strings.Cut(rest, " ")
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, address+path, bytes.NewReader([]byte(body)))
	if err != nil {
		return 0, err.Error()
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return 0, err.Error()
	}
	return resp.StatusCode, string(text)
}

// fleet is three replicas to which things happen.
type fleet struct {
	s       *stack
	configs []string

	mu       sync.Mutex
	replicas []*replica
}

func (s *stack) fleet(n int) *fleet {
	f := &fleet{s: s}
	for i := range n {
		id := fmt.Sprintf("replica-%d", i)
		f.configs = append(f.configs, s.worker(id))
		f.replicas = append(f.replicas, startReplica(s.t, id, f.configs[i]))
	}
	return f
}

func (f *fleet) at(i int) *replica {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.replicas[i]
}

// again starts a replica anew that has ended.
func (f *fleet) again(i int) {
	r := f.at(i)
	r.replaced.Store(true)
	n := startReplica(f.s.t, r.id, f.configs[i])
	f.mu.Lock()
	defer f.mu.Unlock()
	f.replicas[i] = n
}

// until sends a request to one replica after the other until one answers with the code.
func (f *fleet) until(code int, method, path, body string, words ...string) {
	f.s.t.Helper()
	i := 0
	eventually(f.s.t, limit, func() string {
		r := f.at(i % len(f.configs))
		i++
		got, answer := r.call(f.s.t.Context(), method, path, body)
		missing := fmt.Sprintf("%s %s at %s: %d %.500s, want %d with %q", method, path, r.id, got, answer, code, words)
		if got != code {
			return missing
		}
		for _, w := range words {
			if !strings.Contains(answer, w) {
				return missing
			}
		}
		return ""
	})
}

// TestRESTWhileReplicasComeAndGo: a connector is paused, stopped, changed, restarted,
// taken back and deleted over whichever replica, while replicas are killed, stopped for
// longer than their session and ended, and records come. Each request gets an answer that
// says what happened, and nothing is lost or doubled.
func TestRESTWhileReplicasComeAndGo(t *testing.T) {
	t.Parallel()
	// The in-process broker begins a rebalance anew with each member that joins, and may
	// take a minute for what happens here.
	s := newStack(t, testenv.Kafka(t))
	s.settings["tape.replay.index"] = "true"
	p := s.newStream(4)
	p.pause = 50 * time.Millisecond
	f := s.fleet(3)
	path := "/connectors/" + s.connector
	f.until(201, "POST", "/connectors", fmt.Sprintf(`{"name":%q,"config":%s}`, s.connector, s.overREST(nil)))
	p.run()
	s.waitMoving()

	rounds := 6
	if acceptance() {
		rounds = 60
	}
	seed := uint64(number(t, "SEED", int(time.Now().UnixNano()%1_000_000_000)))
	t.Logf("SEED=%d", seed)
	harm, ask := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
	over := make(chan struct{})
	var harming sync.WaitGroup
	harming.Go(func() {
		defer close(over)
		for range rounds {
			i := harm.IntN(3)
			r := f.at(i)
			switch harm.IntN(3) {
			case 0:
				r.kill()
			case 1: // longer than its session
				r.signal(syscall.SIGSTOP)
				s.pause(7 * time.Second)
				r.signal(syscall.SIGCONT)
				continue
			case 2:
				r.signal(syscall.SIGTERM)
				<-r.done
			}
			s.pause(time.Duration(harm.IntN(1500)) * time.Millisecond)
			f.again(i)
			s.pause(time.Second)
		}
	})
	counts := map[int]int{}
	for done := false; !done; {
		select {
		case <-over:
			done = true
		default:
		}
		type request struct {
			method, path, body string
			may                []int
		}
		all := []request{
			{"PUT", path + "/pause", "", []int{202}},
			{"PUT", path + "/resume", "", []int{202}},
			{"PUT", path + "/resume", "", []int{202}},
			{"PUT", path + "/stop", "", []int{204}},
			{"POST", path + "/restart?includeTasks=true&onlyFailed=false", "", []int{202}},
			{"PATCH", path + "/config", fmt.Sprintf(`{"tasks.max":"%d"}`, 1+ask.IntN(3)), []int{200}},
			{"PUT", path + "/config", s.overREST(nil), []int{200, 201}},
			{"DELETE", path + "/offsets", "", []int{200, 400}}, // 400: it is not stopped
			{"DELETE", path, "", []int{204}},
			{"POST", "/connectors", fmt.Sprintf(`{"name":%q,"config":%s}`, s.connector, s.overREST(nil)), []int{201}},
			{"GET", "/connectors?expand=info&expand=status", "", []int{200}},
		}
		q := all[ask.IntN(len(all))]
		r := f.at(ask.IntN(3))
		code, answer := r.call(t.Context(), q.method, q.path, q.body)
		counts[code]++
		good := code == 0 || code == 404 || code == 409 || code == 503 // killed, deleted, at the same time, not read yet
		for _, may := range q.may {
			good = good || code == may
		}
		if !good {
			t.Errorf("%s %s at %s: %d %s", q.method, q.path, r.id, code, answer)
		}
		s.pause(time.Duration(ask.IntN(400)) * time.Millisecond)
	}
	harming.Wait()
	t.Logf("answers: %v", counts)

	// All of it once more, over rows that are there.
	f.ensure(path)
	f.until(204, "PUT", path+"/stop", "")
	f.until(200, "DELETE", path+"/offsets", "", "have been reset successfully")
	f.until(202, "PUT", path+"/resume", "")
	s.waitMoving()
	p.stop()
	s.checkAccount()
}

// ensure makes the connector where it is not there.
func (f *fleet) ensure(path string) {
	f.s.t.Helper()
	eventually(f.s.t, limit, func() string {
		code, answer := f.at(0).call(f.s.t.Context(), "PUT", path+"/config", f.s.overREST(nil))
		if code == 200 || code == 201 {
			return ""
		}
		return fmt.Sprintf("%d %s", code, answer)
	})
}

// pause lets time pass: what is tested is what happens whenever it does.
func (s *stack) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.t.Context().Done():
	}
}
