//go:build unix

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// TestChaos kills, stops and ends three replicas at random and at chosen points
// of their transactions, cuts connections and restarts the database, while
// records come. After each round every record is accounted for.
//
// ROUNDS says how many there are, SEED repeats the choices of a run, and
// CHAOS_BROKER chooses between kafka, the default, and kfake, the in-process broker
// in a process of its own.
func TestChaos(t *testing.T) {
	brokers := map[string]func(*testing.T) []string{
		"kafka": chaosKafka,
		"kfake": func(t *testing.T) []string { return startBrokerProcess(t).brokers },
	}
	names, rounds := []string{"kafka"}, 2
	if acceptance() {
		names, rounds = []string{"kafka", "kfake"}, 30
	}
	if name := os.Getenv("CHAOS_BROKER"); name != "" {
		names = []string{name}
	}
	rounds = number(t, "ROUNDS", rounds)
	seed := number(t, "SEED", int(time.Now().UnixNano()%1_000_000_000))
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Logf("SEED=%d ROUNDS=%d", seed, rounds)
			if brokers[name] == nil {
				t.Fatalf("CHAOS_BROKER: %q is neither kafka nor kfake", name)
			}
			c := newChaos(t, brokers[name](t), uint64(seed))
			for round := 1; round <= rounds; round++ {
				c.round(round)
				if t.Failed() {
					t.Fatalf("round %d of seed %d failed", round, seed)
				}
			}
			c.checkTotals()
			t.Logf("%d rounds of seed %d: %d records, %v", rounds, seed, c.stack.journal.counts.good, c.done)
		})
	}
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// chaos is what the rounds share.
type chaos struct {
	t       *testing.T
	rng     *rand.Rand // for the goroutine of the rounds alone
	stack   *stack
	db      *devstack.Database
	dbBusy  sync.Mutex // one thing at a time happens to the database
	stream  *stream
	slots   []*slot
	healing sync.WaitGroup
	began   time.Time
	done    map[string]int // what was done, how often
	rows    map[string]int64
}

// slot is a replica's place: its name, its way to the database, and the process
// that has it now. One thing at a time happens to it.
type slot struct {
	c      *chaos
	id     string
	config string
	wire   *wire
	busy   sync.Mutex
	r      *replica
}

func newChaos(t *testing.T, brokers []string, seed uint64) *chaos {
	t.Helper()
	c := &chaos{
		t: t, rng: rand.New(rand.NewPCG(seed, seed)), db: testenv.OwnDatabase(t),
		done: map[string]int{}, rows: map[string]int64{},
	}
	s := newStackAt(t, brokers, c.db.URL(), "market")
	s.settings["copy.min.rows"] = "20" // COPY and merges alike
	s.settings["batch.size"] = "300"
	// Sessions end soon, so that many partitions change hands in a round.
	s.settings["fence.timeout.ms"] = "1500"
	s.process["session.timeout.ms"] = "2000"
	s.process["rebalance.timeout.ms"] = "4000"
	s.settings["release.timeout.ms"] = "2000"
	c.stack, c.stream = s, s.newStream(6)
	c.stream.pause = 50 * time.Millisecond
	for i := range 3 {
		sl := &slot{c: c, id: fmt.Sprintf("replica-%d", i)}
		var url string
		sl.wire, url = newWire(t, c.db.URL())
		sl.config = s.config(sl.id, map[string]string{"connection.url": url}, "")
		sl.start()
		c.slots = append(c.slots, sl)
	}
	return c
}

// chaosKafka starts an Apache Kafka that allows short sessions.
func chaosKafka(t *testing.T) []string {
	t.Helper()
	k, err := devstack.StartKafka(t.Context(), devstack.KafkaOptions{Settings: map[string]string{"group.min.session.timeout.ms": "1000"}})
	testenv.Need(t, err)
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	return k.Brokers()
}

func (s *slot) start() {
	if s.r != nil {
		s.r.replaced.Store(true)
	}
	s.r = startReplica(s.c.t, s.id, s.config)
}

// pause lets time pass: what is tested here is what happens whenever it does.
func (c *chaos) pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.t.Context().Done():
	}
}

func (c *chaos) note(format string, args ...any) {
	c.t.Logf("%7.3f s  %s", time.Since(c.began).Seconds(), fmt.Sprintf(format, args...))
}

// between draws a duration.
func (c *chaos) between(low, high time.Duration) time.Duration {
	return low + time.Duration(c.rng.Int64N(int64(high-low)))
}

// away draws how long a replica is away: briefly, or for longer than
// session.timeout.ms, so that the others take over.
func (c *chaos) away() time.Duration {
	if c.rng.IntN(2) == 0 {
		return c.asleep()
	}
	return c.between(0, 1500*time.Millisecond)
}

func (c *chaos) asleep() time.Duration { return c.between(2300*time.Millisecond, 5*time.Second) }

// round disturbs, heals, and takes the account.
func (c *chaos) round(number int) {
	c.t.Helper()
	c.began = time.Now()
	s := c.stack
	s.journal.forgetRows()
	first := c.stream.seq
	c.stream.run()
	actions := 8 + c.rng.IntN(8)
	for range actions {
		c.pause(c.between(50*time.Millisecond, time.Second))
		c.act()
	}
	c.healing.Wait()
	for _, sl := range c.slots {
		sl.wire.arm(nil)
		sl.r.signal(syscall.SIGCONT)
		if !sl.r.running() {
			sl.start()
		}
	}
	c.stream.stop()
	produced := time.Since(c.began)
	s.waitStoredWithin(2 * limit)
	settled := time.Since(c.began) - produced
	for _, err := range s.journal.errs {
		c.t.Error(err)
	}
	s.checkLedger()
	for _, kind := range streamKinds {
		s.checkRows(kind, fmt.Sprintf(`WHERE "time" >= '%s'`, sampleTime(first).Format(time.RFC3339Nano)))
		rows, _ := s.journal.sum(kind)
		c.rows[tableNames[kind]] += rows
	}
	s.checkDeadLetters()
	c.note("round %d: %d actions in %.1f s, all stored %.1f s later", number, actions, produced.Seconds(), settled.Seconds())
}

// checkTotals counts the rows of all rounds.
func (c *chaos) checkTotals() {
	c.t.Helper()
	for table, want := range c.rows {
		var got int64
		if err := c.stack.db.QueryRow(c.t.Context(), "SELECT count(*) FROM "+c.stack.table(table)).Scan(&got); err != nil {
			c.t.Fatal(err)
		}
		if got != want {
			c.t.Errorf("%s holds %d rows after all rounds, want %d", table, got, want)
		}
	}
}

// act does one thing, and has what it broke mended later. What happens to a
// replica or to the database that is not yet mended is left out.
func (c *chaos) act() {
	sl := c.slots[c.rng.IntN(len(c.slots))]
	away := c.away()
	if c.rng.IntN(3) == 0 {
		// What happens next happens in a backlog.
		c.stream.burst.Store(2000)
		c.pause(c.between(0, 300*time.Millisecond))
	}
	comeBack := func() {
		c.pause(away)
		if !sl.r.running() {
			sl.start()
		}
	}
	switch n := c.rng.IntN(20); {
	case n < 3:
		sl.do("killed", func() { sl.r.kill(); c.pause(away); sl.start() })
	case n < 5:
		sl.do("terminated", func() { sl.end(); c.pause(away / 2); sl.start() })
	case n < 8:
		sl.do("stopped", func() { c.freeze(sl.r, away) })
	case n < 10:
		sl.do("cut before COMMIT", func() { sl.at(atCommit, func() bool { return false }, nil) })
	case n < 12:
		sl.do("cut after COMMIT", func() { sl.at(atCommit, yes, func() bool { return false }) })
	case n == 12:
		sl.do("COMMIT held", func() { sl.at(atCommit, func() bool { c.pause(away); return true }, nil) })
	case n == 13:
		sl.do("answer to COMMIT held", func() { sl.at(atCommit, yes, func() bool { c.pause(away); return true }) })
	case n == 14:
		// Whether the COMMIT of a dead replica still comes is left to chance.
		lands := c.rng.IntN(2) == 0
		sl.do("killed before COMMIT", func() {
			r := sl.r
			sl.at(atCommit, func() bool { r.kill(); return lands }, nil)
			comeBack()
		})
	case n == 15:
		// After the database's commit and before Kafka's.
		sl.do("killed after COMMIT", func() {
			r := sl.r
			sl.at(atCommit, yes, func() bool { r.kill(); return false })
			comeBack()
		})
	case n == 16:
		// The others take over from a replica whose COMMIT comes when it wakes up.
		asleep := c.asleep()
		sl.do("asleep before COMMIT", func() {
			r := sl.r
			sl.at(atCommit, func() bool { c.freeze(r, asleep); return true }, nil)
		})
	case n == 17:
		sl.do("stopped in COPY", func() {
			r := sl.r
			sl.at(atRows, func() bool { c.freeze(r, away); return true }, nil)
		})
	case n == 18:
		c.doDatabase("backends ended", func(ctx context.Context) error {
			_, err := c.stack.db.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'tickconnect/%'`)
			return err
		})
	default:
		kill := c.rng.IntN(2) == 0
		c.doDatabase("database restarted", func(ctx context.Context) error {
			var err error
			if kill {
				err = c.db.Kill()
			}
			if err == nil {
				err = c.db.Restart(ctx)
			}
			if err != nil && ctx.Err() == nil {
				c.t.Errorf("restarting the database: %v", err)
			}
			return err
		})
	}
}

func yes() bool { return true }

// do does something to a replica to which nothing else happens.
func (s *slot) do(what string, f func()) {
	if !s.busy.TryLock() {
		return
	}
	s.c.done[what]++
	s.c.note("%s %s", s.id, what)
	s.c.healing.Go(func() {
		defer s.busy.Unlock()
		f()
	})
}

func (c *chaos) doDatabase(what string, f func(context.Context) error) {
	if !c.dbBusy.TryLock() {
		return
	}
	c.done[what]++
	c.note("%s", what)
	c.healing.Go(func() {
		defer c.dbBusy.Unlock()
		ctx, cancel := context.WithTimeout(c.t.Context(), limit)
		defer cancel()
		// A connection of ours may be the one that ended.
		if err := f(ctx); err != nil && !strings.Contains(err.Error(), "57P01") {
			c.note("%s: %v", what, err)
		}
	})
}

// end has the process end in good order, and kills it where it does not.
func (s *slot) end() {
	s.r.signal(syscall.SIGTERM)
	timer := time.NewTimer(30 * time.Second)
	defer timer.Stop()
	select {
	case <-s.r.done:
	case <-timer.C:
		s.c.t.Errorf("%s still runs 30 s after SIGTERM", s.id)
		s.r.kill()
	}
}

func (c *chaos) freeze(r *replica, d time.Duration) {
	r.signal(syscall.SIGSTOP)
	c.pause(d)
	r.signal(syscall.SIGCONT)
}

// at waits until the replica comes to a point, within a limit: it may have no
// partition just then.
func (s *slot) at(where point, before, after func() bool) {
	over := make(chan struct{})
	f := &fault{at: where}
	if after == nil {
		f.before = func() bool { defer close(over); return before() }
	} else {
		f.before = before
		f.after = func() bool { defer close(over); return after() }
	}
	s.wire.arm(f)
	timer := time.NewTimer(5 * time.Second)
	defer timer.Stop()
	select {
	case <-over:
		return
	case <-timer.C:
	}
	if s.wire.disarm(f) {
		return // it never began
	}
	// It is under way, or its connection ended between the two points.
	timer.Reset(10 * time.Second)
	select {
	case <-over:
	case <-timer.C:
	}
}
