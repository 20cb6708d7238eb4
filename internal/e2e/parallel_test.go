package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// beside gives a second target for the stack's topics: another connector, with a
// schema of its own in the database at url. What is produced is in the journal of
// both.
func (s *stack) beside(name, url, schema string) *stack {
	twin := *s
	twin.connector, twin.url, twin.schema = s.connector+"-"+name, url, schema
	twin.settings = map[string]string{}
	return &twin
}

// TestDeadTargetCostsNothing: of two connectors in a process one loses its
// database while records flow. The other stores as many records as one that is
// alone in a process, and they wait as long; both read the same topics at the
// same time, so that the machine's pace does not count. Once the database is back
// the one that was dead has every record exactly once, too.
func TestDeadTargetCostsNothing(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		for _, test := range []struct {
			name     string
			dead     gateState
			replicas int
		}{
			{"refuses", gateClosed, 1},
			{"is silent", gateSilent, 2},
		} {
			t.Run(test.name, func(t *testing.T) { testDeadTarget(t, brokers, test.dead, test.replicas) })
		}
	})
}

// deadQueueBytes is what the dead connector may keep, in each replica; the least
// that can be set, and less than is produced.
const deadQueueBytes = 1 << 20

func testDeadTarget(t *testing.T, brokers []string, state gateState, replicas int) {
	alone := newStack(t, brokers)
	p := alone.newStream(4)
	url, schema := testenv.Schema(t)
	live := alone.beside("live", url, schema)
	through, schemaBehind := testenv.Schema(t)
	g, through := newGate(t, through)
	dead := alone.beside("dead", through, schemaBehind)
	dead.settings["queue.max.bytes"] = strconv.Itoa(deadQueueBytes)
	dead.settings["put.timeout.ms"] = "1000"
	all := []*stack{alone, live, dead}

	alone.start("alone-0")
	pair := make([]*replica, replicas)
	startPair := func(i int) {
		id := fmt.Sprintf("pair-%d", i)
		pair[i] = startReplica(t, id, live.config(id, nil, dead.section(nil)))
	}
	for i := range pair {
		startPair(i)
	}
	live.waitMembers(p, replicas)
	dead.waitMembers(p, replicas)
	p.send(100)
	for _, s := range all {
		s.checkAccount()
	}

	g.set(state)
	p.send(10) // what shows the dead one that it is dead
	for _, r := range pair {
		r.waitHealth(http.StatusServiceUnavailable, dead.connector+": the target is away")
	}
	checkPaces(t, p, alone, live)
	for _, r := range pair {
		waitIsolated(t, r, live.connector, dead.connector)
	}
	if replicas > 1 {
		// The groups of both are divided anew, while one of them cannot store what it
		// holds.
		pair[0].terminate(limit)
		p.send(100)
		live.waitStored()
		startPair(0) // its dead connector joins no group before it has seen its database
		live.waitMembers(p, replicas)
		p.send(100)
	}
	live.checkAccount()
	if n := storedByEach(t, alone, alone, dead); n[1] >= n[0] {
		t.Errorf("the dead connector has stored all %d offsets: it was not dead", n[1])
	}

	g.set(gateOpen)
	for _, s := range all {
		s.checkAccount()
	}
	for _, r := range pair {
		r.waitHealth(http.StatusOK)
	}
}

// waitMembers waits until the groups of the stream's topics have so many members.
func (s *stack) waitMembers(p *stream, members int) {
	s.t.Helper()
	for _, topic := range p.topics {
		group := "connect-" + s.connector + "-" + topic
		eventually(s.t, limit, func() string {
			// Kafka answers only once it has a coordinator for the group.
			described, err := s.admin.DescribeGroups(s.t.Context(), group)
			if err != nil {
				return err.Error()
			}
			if g := described[group]; g.State != "Stable" || len(g.Members) != members {
				return fmt.Sprintf("the group %s is %s with %d members, want Stable with %d", group, g.State, len(g.Members), members)
			}
			return ""
		})
	}
}

// storedByEach reads how many offsets the ledgers of several stacks have passed,
// at one moment, over the connections of a stack that is not cut off.
func storedByEach(t *testing.T, over *stack, stacks ...*stack) []int64 {
	t.Helper()
	sums := make([]int64, len(stacks))
	var columns []string
	var names, into []any
	for i, s := range stacks {
		columns = append(columns, fmt.Sprintf("(SELECT coalesce(sum(next_offset - start_offset), 0)::bigint FROM %s WHERE connector = $%d)",
			s.table("connector_ledger"), i+1))
		names, into = append(names, s.connector), append(into, &sums[i])
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if err := over.db.QueryRow(ctx, "SELECT "+strings.Join(columns, ", "), names...).Scan(into...); err != nil {
		t.Fatal(err)
	}
	return sums
}

// Bounds of how much worse off the neighbour of a dead connector may be. Without
// isolation it would not store at all.
const (
	storedRatioMin = 0.7
	waitRatioMax   = 3.0
	paceRounds     = 5
	paceBatches    = 25
	paceBatchRows  = 20
)

// checkPaces produces rounds of records and compares how two connectors follow:
// how much the one beside the dead one has stored when the one alone has all, and
// how long a record waits on the average. The middle one of the rounds counts,
// since any of them may meet a pause of one process.
//
// That the live one stores everything is true on any machine. How fast it does
// beside the other says something only where the machine is not busy with other
// things: the ratios count in the acceptance tests alone, and without the race
// detector, under which two connectors keep two cores busy.
func checkPaces(t *testing.T, p *stream, alone, live *stack) {
	t.Helper()
	rounds, judged := 1, acceptance() && !raceEnabled
	if judged {
		rounds = paceRounds
	}
	var stored, waits []float64
	for range rounds {
		r := measure(t, p, alone, live)
		stored = append(stored, float64(r.stored)/float64(r.produced))
		waits = append(waits, r.waits[1].Seconds()/r.waits[0].Seconds())
		t.Logf("when the one alone had stored %d records the other had %d; a record waited %v and %v",
			r.produced, r.stored, r.waits[0].Round(time.Millisecond), r.waits[1].Round(time.Millisecond))
	}
	if !judged {
		return
	}
	slices.Sort(stored)
	slices.Sort(waits)
	if m := stored[paceRounds/2]; m < storedRatioMin {
		t.Errorf("beside a dead connector %.2f of the records are stored once one alone has all (rounds: %.2f), want at least %.2f",
			m, stored, storedRatioMin)
	}
	if m := waits[paceRounds/2]; m > waitRatioMax {
		t.Errorf("beside a dead connector a record waits %.2f times as long as with one alone (rounds: %.2f), want at most %.2f",
			m, waits, waitRatioMax)
	}
}

// pace is how two connectors followed a round of records.
type pace struct {
	produced int64
	stored   int64 // by the second one when the first one had all
	waits    [2]time.Duration
}

// look is how often the ledgers are looked at; a shorter wait cannot be seen.
const look = 5 * time.Millisecond

// measure produces one round and follows it until both have stored it. By
// Little's law the wait of a record is the area between what is produced and what
// is stored, divided by the records.
func measure(t *testing.T, p *stream, alone, live *stack) pace {
	t.Helper()
	before := storedByEach(t, alone, alone, live)
	start := alone.journal.produced()
	sent := make(chan error, 1)
	go func() { sent <- p.paced(paceBatches, paceBatchRows) }()
	r := pace{stored: -1}
	var area [2]float64
	done := false
	began := time.Now()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for last := began; ; {
		select {
		case err := <-sent:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		case <-tick.C:
		}
		made := alone.journal.produced() - start
		now := storedByEach(t, alone, alone, live)
		moment := time.Now()
		for i := range now {
			now[i] -= before[i]
			area[i] += float64(max(0, made-now[i])) * moment.Sub(last).Seconds()
		}
		last = moment
		if done && r.stored < 0 && now[0] >= made {
			r.stored = min(now[1], made)
		}
		if done && min(now[0], now[1]) >= made {
			r.produced = made
			break
		}
		if last.Sub(began) > limit {
			t.Fatalf("after %v the one alone has stored %d of %d records and the one beside the dead one %d", limit, now[0], made, now[1])
		}
	}
	for i := range area {
		r.waits[i] = max(look, time.Duration(area[i]/float64(r.produced)*float64(time.Second)))
	}
	return r
}

// paced sends batches with a pause between them.
func (p *stream) paced(batches, records int) error {
	tick := time.NewTicker(p.pause)
	defer tick.Stop()
	for range batches {
		if err := p.trySend(records); err != nil {
			return err
		}
		<-tick.C
	}
	return nil
}

// produced is how many records the brokers have acknowledged.
func (j *journal) produced() int64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.counts.good + j.counts.bad + j.counts.filtered
}

// waitIsolated waits until the replica says of both connectors what it must while
// one is dead: only that one is unhealthy, its breaker is not closed, it lags and
// holds no more than it may. A scrape may show some gauges as the last one left
// them, so that one is not enough.
func waitIsolated(t *testing.T, r *replica, live, dead string) {
	t.Helper()
	eventually(t, limit, func() string {
		_, health := r.get("/health")
		_, metrics := r.get("/metrics")
		sum := func(name, connector string) float64 { return sumOf(metrics, name, connector) }
		switch {
		case !strings.Contains(health, dead+":") || strings.Contains(health, live+":"):
			return "/health of replica " + r.id + " blames the wrong connector: " + health
		case sum("tickconnect_breaker_state", live) != 0:
			return "the live connector's breaker is not closed in replica " + r.id
		case sum("tickconnect_put_failures_total", live) != 0:
			return "Puts of the live connector failed in replica " + r.id
		case sum("tickconnect_breaker_state", dead) == 0:
			return "the dead connector's breaker is closed in replica " + r.id
		case sum("tickconnect_lag_offsets", dead) == 0:
			return "the dead connector does not lag in replica " + r.id
		}
		// Beside its share each of the 12 partitions takes one record, however large.
		if held := sum("tickconnect_queue_bytes", dead); held == 0 || held > deadQueueBytes+12<<10 {
			return fmt.Sprintf("the dead connector holds %.0f bytes in replica %s, want some, and at most about %d", held, r.id, deadQueueBytes)
		}
		return ""
	})
}

// sumOf adds up the series of a metric that have the connector as a label.
func sumOf(metrics, name, connector string) (sum float64) {
	series := regexp.MustCompile(`(?m)^` + name + `\{(?:[^}]*,)?connector="` + connector + `"[^}]*\} (\S+)$`)
	for _, m := range series.FindAllStringSubmatch(metrics, -1) {
		if v, err := strconv.ParseFloat(m[1], 64); err == nil {
			sum += v
		}
	}
	return sum
}

// TestParallelTargetsPage: the configuration of docs/parallel-targets.md is a
// good one.
func TestParallelTargetsPage(t *testing.T) {
	t.Parallel()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "parallel-targets.md"))
	if err != nil {
		t.Fatal(err)
	}
	yaml := regexp.MustCompile("(?ms)^```yaml\n(.*?)^```").FindSubmatch(page)
	if yaml == nil {
		t.Fatal("the page has no configuration")
	}
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "validate", "--offline", "-c", writeFile(t, "connector.yaml", string(yaml[1])))
	cmd.Env = append(os.Environ(), "DATABASE_URL=postgres://u@localhost/market", "RESEARCH_URL=postgres://u@localhost/research")
	out, err := output(t.Context(), cmd)
	if err != nil || !strings.Contains(out, "0 errors, 0 warnings") {
		t.Errorf("validate says %v\n%s", err, out)
	}
}
