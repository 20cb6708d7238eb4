package e2e

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

const (
	// Promised of a machine that has nothing else to do.
	pauseOfLeave  = 3 * time.Second // of the partitions of who leaves or joins
	pauseOfOthers = time.Second     // of those that stay where they are
	pauseOfKill   = 2 * time.Second // after the session's end
	restartedP99  = 5 * time.Second // of produce to visible, in each second of a rolling restart
)

// alone says that nothing else runs on this machine, so that pauses say something about
// the connector: they are then measured, held against what is promised, and drawn.
func alone() bool { return plotsDir() != "" }

// plotsDir is where plots of what was measured go.
func plotsDir() string { return os.Getenv("TICKCONNECT_PLOTS") }

// waitMembers waits until each group of a stream is stable with so many members.
func (p *stream) waitMembers(n int) {
	p.s.t.Helper()
	for _, kind := range streamKinds {
		eventually(p.s.t, limit, func() string {
			if members, state := p.s.members(p.topics[kind]); members != n || state != "Stable" {
				return fmt.Sprintf("the group of %s is %s with %d members, want Stable with %d", kind, state, members, n)
			}
			return ""
		})
	}
}

// settle waits until what was just done is over: all that was sent until now is stored.
func (p *stream) settle(members int) {
	p.s.t.Helper()
	p.waitMembers(members)
	ends, err := p.s.ends(p.s.t.Context())
	if err != nil {
		p.s.t.Fatal(err)
	}
	eventually(p.s.t, limit, func() string {
		ledger, err := p.s.ledger(p.s.t.Context())
		if err != nil {
			return err.Error()
		}
		for tp, end := range ends {
			if ledger[tp].next < end {
				return fmt.Sprintf("%s stands at %d of %d", tp, ledger[tp].next, end)
			}
		}
		return ""
	})
}

// showUsual has records come for a while, so that a plot shows the usual too.
func (p *stream) showUsual() {
	if alone() {
		p.s.waitUntil(time.Now().Add(3 * time.Second))
	}
}

// waitUntil waits until records are visible that were sent at a moment or later.
func (s *stack) waitUntil(at time.Time) {
	s.t.Helper()
	eventually(s.t, limit, func() string {
		var last *time.Time
		err := s.db.QueryRow(s.t.Context(), "SELECT max(last_time) FROM "+s.table("connector_ledger")).Scan(&last)
		if err != nil || last == nil || last.Before(at) {
			return fmt.Sprintf("nothing is visible that was sent at %v or later (%v)", at, err)
		}
		return ""
	})
}

// change is something that is done to replicas, and how long partitions may pause.
type change struct {
	what                  string
	members               int
	do                    func()
	leaver                string // whose partitions go to others; "" where replicas join
	pauseMoved, pauseRest time.Duration
}

// change carries out a change under load, and measures the pauses.
func (p *stream) change(w *watch, c change) {
	t := p.s.t
	t.Helper()
	p.showUsual()
	began := w.note(c.what)
	c.do()
	p.settle(c.members)
	over := time.Now()
	p.s.waitMoving() // so that a step follows
	w.mu.Lock()
	defer w.mu.Unlock()
	var moved, rest pauses
	for _, tp := range w.partitions() {
		before, after := w.ownerAt(tp, began.at), w.ownerAt(tp, over)
		took := w.pause(tp, began.at, over)
		if before != after || before == c.leaver {
			moved.add(tp, took)
		} else {
			rest.add(tp, took)
		}
	}
	t.Logf("%s: %d partitions moved, longest pause %v; %d stayed, longest pause %v", c.what, moved.n, moved.longest, rest.n, rest.longest)
	if !alone() {
		return
	}
	if moved.longest > c.pauseMoved {
		t.Errorf("%s: %s paused for %v, promised %v", c.what, moved.of, moved.longest, c.pauseMoved)
	}
	if rest.longest > c.pauseRest {
		t.Errorf("%s: %s, which did not move, paused for %v, promised %v", c.what, rest.of, rest.longest, c.pauseRest)
	}
}

type pauses struct {
	n       int
	longest time.Duration
	of      connect.TopicPartition
}

func (p *pauses) add(tp connect.TopicPartition, took time.Duration) {
	p.n++
	if took > p.longest {
		p.longest, p.of = took, tp
	}
}

// TestScale: from one replica to three and back to two, by a kill and by a clean end,
// while records come. Nothing is lost or doubled; partitions pause for as long as is
// promised.
func TestScale(t *testing.T) {
	if !alone() {
		t.Parallel()
	}
	s := newStack(t, testenv.Kafka(t))
	p := s.newStream(6)
	first := s.start("replica-0")
	p.run()
	w := s.watch()
	p.settle(1)
	eventually(t, limit, func() string {
		_, metrics := first.get("/metrics")
		useful := regexp.MustCompile(`(?m)^tickconnect_useful_replicas\{connector="` + s.connector + `"\} (\S+)$`).FindStringSubmatch(metrics)
		if useful == nil || useful[1] == "0" {
			return fmt.Sprintf("records come, and the replica says %q of how much of it they take", useful)
		}
		return ""
	})

	var second, third, back *replica
	const session = 6 * time.Second
	for _, c := range []change{
		{what: "replica-1 joins", members: 2, do: func() { second = s.start("replica-1") }, pauseMoved: pauseOfLeave, pauseRest: pauseOfOthers},
		{what: "replica-2 joins", members: 3, do: func() { third = s.start("replica-2") }, pauseMoved: pauseOfLeave, pauseRest: pauseOfOthers},
		{what: "replica-2 is killed", members: 2, do: func() { third.kill() }, leaver: "replica-2", pauseMoved: session + pauseOfKill, pauseRest: pauseOfOthers},
		{what: "replica-1 killed, back", members: 2, do: func() { second.kill(); back = s.start("replica-1") }, leaver: "replica-1", pauseMoved: pauseOfLeave, pauseRest: pauseOfOthers},
		{what: "replica-1 ends", members: 1, do: func() { back.terminate(20 * time.Second) }, leaver: "replica-1", pauseMoved: pauseOfLeave, pauseRest: pauseOfOthers},
	} {
		p.change(w, c)
	}
	p.showUsual()
	p.stop()
	s.checkAccount()
	w.stop()
	w.draw("replicas", "Replicas come and go", 0)
	first.terminate(20 * time.Second)
}

// TestRollingRestart: each of three replicas ends and starts again, one after the other.
func TestRollingRestart(t *testing.T) {
	if !alone() {
		t.Parallel()
	}
	s := newStack(t, testenv.Kafka(t))
	p := s.newStream(6)
	replicas := []*replica{s.start("replica-0"), s.start("replica-1"), s.start("replica-2")}
	p.run()
	p.settle(3)
	w := s.watch()
	p.settle(3)
	for i, r := range replicas {
		p.change(w, change{what: r.id + " ends", members: 2, do: func() { r.terminate(20 * time.Second) }, leaver: r.id, pauseMoved: pauseOfLeave, pauseRest: pauseOfOthers})
		p.change(w, change{what: r.id + " starts", members: 3, do: func() { replicas[i] = s.start(r.id) }, pauseMoved: pauseOfLeave, pauseRest: pauseOfOthers})
	}
	p.showUsual()
	p.stop()
	s.checkAccount()
	w.stop()
	worst := slices.MaxFunc(w.windows(), func(a, b window) int { return int(a.p99 - b.p99) })
	t.Logf("p99 of produce to visible in the worst second: %v", worst.p99)
	if alone() && worst.p99 > restartedP99 {
		t.Errorf("p99 of produce to visible was %v, promised %v", worst.p99, restartedP99)
	}
	w.draw("rolling-restart", "A rolling restart of three replicas", restartedP99)
	for _, r := range replicas {
		r.signal(syscall.SIGTERM)
	}
	for _, r := range replicas {
		r.waitEnded(20 * time.Second)
	}
}
