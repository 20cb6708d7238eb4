package connecttest

import (
	"errors"
	"slices"
	"sync"

	"github.com/qicore/tickconnect/connect"
)

// testInterfaces: what a sink says of itself and what it is go together.
func testInterfaces(f *fixture) {
	o := f.sink()
	if _, stores := o.Sink.(connect.OffsetStore); stores == f.target.NoOffsets {
		f.Fatalf("the sink is a connect.OffsetStore: %t, Target.NoOffsets: %t", stores, f.target.NoOffsets)
	}
	d := f.connector().Delivery()
	if d.Why == "" {
		f.Error("Delivery does not say why")
	}
	if d.ExactlyOnce && f.target.NoOffsets {
		f.Error("Delivery claims exactly once, and the sinks store no offsets")
	}
}

// testInit: the connector records where its partitions begin, once. A partition
// that appears later has no row until it is opened.
func testInit(f *fixture) {
	c := f.connector()
	i, ok := c.(connect.Initializer)
	f.need(ok, "connect.Initializer")
	tps := f.tps(3)
	for n, want := range []bool{true, false} {
		claims := []connect.Claim{f.claim(tps[0], int64(7+n)), f.claim(tps[2], int64(9+n))}
		if n > 0 {
			claims = append(claims, f.claim(tps[1], 8))
		}
		created, err := i.Init(f.ctx(), claims)
		if err != nil || created != want {
			f.Fatalf("Init number %d gave %t and %v, want %t", n+1, created, err, want)
		}
	}
	o := f.task(c, 0)
	for n, p := range o.open(3, tps...) {
		if want := []int64{7, 3, 9}[n]; p.Next != want {
			f.Errorf("%s begins at %d, want %d", tps[n], p.Next, want)
		}
	}
	o.put(f.part(tps[0], 7, 9))
	f.wantRows(f.rows(tps[0], 7, 9))
}

// testRowsAndOffsets: promise 1 in its plainest form.
func testRowsAndOffsets(f *fixture) {
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(0, p, q)
	f.wantRows()
	a.put(f.part(p, 0, 3), f.part(q, 0, 2))
	f.wantRows(f.rows(p, 0, 3), f.rows(q, 0, 2))
	f.wantNext(3, p)
	f.wantNext(2, q)
	a.put(f.part(p, 3, 4))
	f.wantRows(f.rows(p, 0, 4), f.rows(q, 0, 2))
	f.wantNext(4, p)
	f.wantNext(2, q)
	f.wantLedger(map[connect.TopicPartition]connect.Counts{p: {Written: 4}, q: {Written: 2}})
}

// testPositions: what Positions and Open tell after each step.
func testPositions(f *fixture) {
	const begin = int64(1) << 40
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	want := func(what string, got, want connect.Position) {
		f.Helper()
		if got.Err != nil || got != want {
			f.Fatalf("%s: %+v, want %+v", what, got, want)
		}
	}
	none := connect.Position{Next: begin, LastOffset: -1, LastTimestamp: -1}
	for _, at := range a.open(begin, p, q) {
		want("after the first Open", at, none)
	}
	part := f.part(p, begin, begin+3)
	last := part.Records[2]
	a.put(part)
	stored := connect.Position{Next: begin + 3, LastOffset: last.Offset, LastTimestamp: last.Timestamp}
	for range 2 {
		at := a.positions(q, p)
		want("after Put", at[1], stored)
		want("of the partition beside it", at[0], none)
	}
	a.put(connect.Part{TopicPartition: p, Start: begin + 3, Next: begin + 10, Absent: 7})
	stored.Next = begin + 10
	want("after offsets without records", a.positions(p)[0], stored)
	want("for another sink", f.sink().open(5, p)[0], stored)
}

// testOpenOrder: positions come in the order of the claims, whatever it is.
func testOpenOrder(f *fixture) {
	a, tps := f.sink(), f.tps(6)
	slices.Reverse(tps)
	var claims []connect.Claim
	for i, tp := range tps {
		claims = append(claims, f.claim(tp, int64(10+i)))
	}
	for range 2 {
		at, err := a.Open(f.ctx(), claims)
		if err != nil || len(at) != len(claims) {
			f.Fatalf("Open gave %d positions and %v", len(at), err)
		}
		for i := range at {
			if at[i].Next != claims[i].Begin {
				f.Errorf("%s stands at %d, want %d", tps[i], at[i].Next, claims[i].Begin)
			}
		}
	}
}

// testOpenTwice: a claim may come again, as after a session that ended in failure.
func testOpenTwice(f *fixture) {
	a, p := f.sink(), f.tp(0)
	a.open(0, p)
	a.open(4, p)
	f.wantNext(0, p)
	a.put(f.part(p, 0, 2))
	if at := a.open(0, p)[0]; !f.target.NoOffsets && at.Next != 2 {
		f.Fatalf("the second Open says %d, want 2", at.Next)
	}
	a.put(f.part(p, 2, 4))
	f.wantRows(f.rows(p, 0, 4))
}

// testLogMadeAgain: a partition whose topic has another ID is refused alone and
// nothing of it is touched; a broker that gives no ID is no reason, nor is a log
// that ended below the ledger when the claim was made (promise 6).
func testLogMadeAgain(f *fixture) {
	f.need(f.target.ChecksLog, "Target.ChecksLog")
	p, q := f.tp(0), f.tp(1)
	a := f.sink()
	a.open(0, p, q)
	a.put(f.part(p, 0, 3), f.part(q, 0, 1))
	otherID, unknown, old := f.claim(p, 0), f.claim(p, 0), f.claim(p, 0)
	otherID.TopicID[0]++
	at, err := f.sink().Open(f.ctx(), []connect.Claim{otherID, f.claim(q, 0)})
	if err != nil || len(at) != 2 {
		f.Fatalf("Open gave %d positions and %v; a refusal stops its partition alone", len(at), err)
	}
	var refused *connect.RefusedError
	if !errors.As(at[0].Err, &refused) || refused.At != p || refused.Reason == "" || refused.Advice == "" {
		f.Fatalf("%s is answered with %v; want a RefusedError with its place, a reason and advice", p, at[0].Err)
	}
	if at[1].Err != nil || at[1].Next != 1 {
		f.Fatalf("%s stands at %d (%v), want 1", q, at[1].Next, at[1].Err)
	}
	unknown.TopicID = connect.TopicID{}
	old.LogEnd = 2
	for what, claim := range map[string]connect.Claim{"without an ID": unknown, "with an end that was read before the last Put": old} {
		at, err := f.sink().Open(f.ctx(), []connect.Claim{claim})
		if err != nil || len(at) != 1 || at[0].Err != nil || at[0].Next != 3 {
			f.Fatalf("%s Open gave %+v and %v, want 3", what, at, err)
		}
	}
	a.put(f.part(p, 3, 4))
	f.wantNext(4, p)
	f.wantRows(f.rows(p, 0, 4), f.rows(q, 0, 1))
}

// testReopen: another sink goes on where the last one stopped.
func testReopen(f *fixture) {
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(10, p)
	a.put(f.part(p, 10, 15))
	if err := a.Close(); err != nil {
		f.Fatalf("Close: %v", err)
	}
	b := f.sink()
	at := b.open(0, q, p)
	if at[0].Next != 0 || at[1].Next != 15 {
		f.Fatalf("opened at %d and %d, want 0 and 15", at[0].Next, at[1].Next)
	}
	b.put(f.part(p, 15, 17), f.part(q, 0, 1))
	f.wantRows(f.rows(p, 10, 17), f.rows(q, 0, 1))
}

// testReplay: offsets that are stored cannot be stored again (promise 2), by the
// sink that stored them or another, and none can be left out.
func testReplay(f *fixture) {
	a, b, p := f.sink(), f.sink(), f.tp(0)
	moved := []connect.TopicPartition{p}
	a.open(0, p)
	a.put(f.part(p, 0, 5))
	b.open(0, p)
	for _, o := range []*owner{a, b} {
		o.fenced(moved, f.part(p, 0, 5))
		o.fenced(moved, f.part(p, 3, 8))
		o.fenced(moved, f.part(p, 6, 8))
		o.fenced(moved, connect.Part{TopicPartition: p, Start: 4, Next: 9, Absent: 5})
		if at := o.positions(p)[0]; at.Next != 5 {
			f.Fatalf("after a fence Positions says %d, want 5", at.Next)
		}
	}
	f.wantRows(f.rows(p, 0, 5))
	a.put(f.part(p, 5, 8))
	f.wantRows(f.rows(p, 0, 8))
	f.wantNext(8, p)
}

// testTwoOwners: a zombie and its successor; each range has one winner.
func testTwoOwners(f *fixture) {
	a, b, p := f.sink(), f.sink(), f.tp(0)
	moved := []connect.TopicPartition{p}
	a.open(0, p)
	b.open(0, p)
	a.put(f.part(p, 0, 3))
	b.fenced(moved, f.part(p, 0, 4))
	if at := b.positions(p)[0]; at.Next != 3 {
		f.Fatalf("the loser's Positions says %d, want 3", at.Next)
	}
	b.put(f.part(p, 3, 6))
	a.fenced(moved, f.part(p, 3, 5))
	f.wantRows(f.rows(p, 0, 6))
}

// testTwoOwnersRace: the same at the same time, over and over.
func testTwoOwnersRace(f *fixture) {
	const owners, end = 3, int64(60)
	p := f.tp(0)
	var wg sync.WaitGroup
	for range owners {
		o := f.sink()
		next := o.open(0, p)[0].Next
		parts := make([]connect.Part, end)
		for i := range parts {
			parts[i] = f.part(p, int64(i), int64(i)+1)
		}
		ctx := f.ctx()
		wg.Go(func() {
			for next < end {
				_, err := o.try(ctx, parts[next])
				if err == nil {
					next++
					continue
				}
				var fence *connect.FencedError
				if !errors.As(err, &fence) {
					f.Errorf("Put gave %v, want a FencedError", err)
					return
				}
				at, err := o.Sink.(connect.OffsetStore).Positions(ctx, []connect.TopicPartition{p})
				if err != nil || len(at) != 1 {
					f.Errorf("Positions gave %d and %v", len(at), err)
					return
				}
				if len(fence.Moved) == 1 && at[0].Next <= next {
					f.Errorf("fenced at %d, and the partition stands at %d", next, at[0].Next)
					return
				}
				next = at[0].Next
			}
		})
	}
	wg.Wait()
	f.wantRows(f.rows(p, 0, end))
	f.wantNext(end, p)
}

// testOneFenced: a batch of many partitions of which one moved stores nothing,
// names that one, and passes without it.
func testOneFenced(f *fixture) {
	a, b, tps := f.sink(), f.sink(), f.tps(7)
	a.open(0, tps...)
	b.open(0, tps[3])
	b.put(f.part(tps[3], 0, 1))
	var parts []connect.Part
	for _, tp := range tps {
		parts = append(parts, f.part(tp, 0, 2))
	}
	a.fenced(tps[3:4], parts...)
	f.wantRows(f.rows(tps[3], 0, 1))
	others := slices.Concat(tps[:3], tps[4:])
	f.wantNext(0, others...)
	f.wantNext(1, tps[3])
	a.put(slices.Concat(parts[:3], parts[4:])...)
	a.positions(tps[3])
	a.put(f.part(tps[3], 1, 2))
	var want []Row
	for _, tp := range tps {
		want = append(want, f.rows(tp, 0, 2)...)
	}
	f.wantRows(want)
	f.wantNext(2, tps...)
}

// testUnopened: a Put of a partition that nobody opened stores nothing.
func testUnopened(f *fixture) {
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(0, p)
	for _, start := range []int64{0, 5} {
		if _, err := a.try(f.ctx(), f.part(p, 0, 1), f.part(q, start, start+1)); err == nil {
			f.Fatalf("Put stored %s, which nobody opened", q)
		} else if connect.IsRetriable(err) {
			f.Fatalf("no waiting mends a Put without Open, and it is Retriable: %v", err)
		}
	}
	f.wantRows()
	f.wantNext(0, p)
	if at := a.open(7, q)[0]; at.Next != 7 {
		f.Fatalf("%s stands at %d after it was opened at 7", q, at.Next)
	}
	a.positions(p, q)
	a.put(f.part(p, 0, 1), f.part(q, 7, 8))
	f.wantRows(f.rows(p, 0, 1), f.rows(q, 7, 8))
}

// wantLedger compares the store's own account, where it can be read: the sums,
// and the fates that the sink does not choose.
func (f *fixture) wantLedger(want map[connect.TopicPartition]connect.Counts) {
	f.Helper()
	if f.target.NoOffsets {
		return
	}
	if f.store.Ledger == nil {
		f.Log("connecttest: Store.Ledger is missing: the store's account is NOT tested")
		return
	}
	got := f.store.Ledger(f.TB)
	for tp, w := range want {
		g := got[tp]
		if g.Offsets() != w.Offsets() || g.DeadLettered != w.DeadLettered || g.Filtered != w.Filtered ||
			g.Absent != w.Absent || g.Expired != w.Expired {
			f.Errorf("the ledger says of %s %+v, want %+v", tp, g, w)
		}
	}
}
