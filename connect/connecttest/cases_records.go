package connecttest

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"sync"

	"github.com/qicore/tickconnect/connect"
)

// testPrepare: rows are appended, nothing of the record is kept or changed, and
// many goroutines may prepare at once.
func testPrepare(f *fixture) {
	preparer, ok := f.connector().(connect.Preparer)
	f.need(ok, "connect.Preparer")
	tp := f.tp(0)
	first := raw(f.target.Record(tp.Topic, f.row(tp, 0)), 0)
	before := cloneBatch(&connect.Batch{Parts: []connect.Part{partOf(tp, 0, first)}}).Parts[0].Records[0]
	want, err := preparer.Prepare(nil, tp.Topic, tp.Partition, &first)
	if err != nil {
		f.Fatalf("Prepare: %v", err)
	}
	want = bytes.Clone(want)
	if !reflect.DeepEqual(first, before) {
		f.Error("Prepare changed the record")
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			dst := []byte("dst")
			for range 50 {
				r := before
				r.Key, r.Value = bytes.Clone(r.Key), bytes.Clone(r.Value)
				got, err := preparer.Prepare(dst, tp.Topic, tp.Partition, &r)
				clear(r.Key)
				clear(r.Value)
				if err != nil || string(got) != "dst"+string(want) {
					f.Errorf("Prepare gave %q and %v, want dst and %q", got, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// testOffsetsOnly: a batch may hold offsets and no record, or gaps between records.
func testOffsetsOnly(f *fixture) {
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(0, p, q)
	a.put(
		connect.Part{TopicPartition: p, Start: 0, Next: 10, Absent: 4, Expired: 6},
		connect.Part{TopicPartition: q, Start: 0, Next: 3, Absent: 3},
	)
	f.wantRows()
	f.wantNext(10, p)
	f.wantNext(3, q)
	gaps := connect.Part{TopicPartition: p, Start: 10, Next: 20, Absent: 7, Expired: 1}
	gaps.Records = []connect.Record{f.good(p, 12, f.row(p, 12)), f.good(p, 17, f.row(p, 17))}
	a.put(gaps)
	f.wantRows(f.rows(p, 12, 13), f.rows(p, 17, 18))
	f.wantNext(20, p)
	f.wantLedger(map[connect.TopicPartition]connect.Counts{
		p: {Written: 2, Absent: 11, Expired: 7}, q: {Absent: 3},
	})
	a.put()
	a.put(partOf(p, 20))
	f.wantNext(20, p)
}

// testFiltered: a filtered record is counted and nothing else.
func testFiltered(f *fixture) {
	a, p := f.sink(), f.tp(0)
	a.open(0, p)
	a.put(partOf(p, 0, filtered(0), f.good(p, 1, f.row(p, 1)), filtered(2)))
	a.put(partOf(p, 3, filtered(3)))
	f.wantRows(f.rows(p, 1, 2))
	f.wantNext(4, p)
	f.wantLedger(map[connect.TopicPartition]connect.Counts{p: {Written: 1, Filtered: 3}})
}

// testDeadLetters: a dead letter is no row, and a part of the balance.
func testDeadLetters(f *fixture) {
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(0, p, q)
	a.put(
		partOf(p, 0, f.good(p, 0, f.row(p, 0)), f.deadLetter(p, 1), f.good(p, 2, f.row(p, 2))),
		partOf(q, 0, f.deadLetter(q, 0)),
	)
	f.wantRows(f.rows(p, 0, 1), f.rows(p, 2, 3))
	f.wantNext(3, p)
	f.wantNext(1, q)
	f.wantLedger(map[connect.TopicPartition]connect.Counts{
		p: {Written: 2, DeadLettered: 1}, q: {DeadLettered: 1},
	})
}

// testPublishDeadLetters: a stored dead letter is handed on with its exact bytes,
// until the hand-over has succeeded.
func testPublishDeadLetters(f *fixture) {
	a, p := f.sink(), f.tp(0)
	c := f.connector()
	outbox, ok := c.(connect.DeadLetterOutbox)
	f.need(ok, "connect.DeadLetterOutbox")
	a.open(0, p)
	letters := []connect.Record{f.deadLetter(p, 0), f.deadLetter(p, 1), f.deadLetter(p, 2)}
	letters[1].Value, letters[1].Key = []byte{0xff, 0x00, '"'}, nil
	letters[2].Timestamp = connect.NoTimestamp
	a.put(partOf(p, 0, letters...))

	got := map[int64]connect.DeadLetter{}
	collect := func(batch []connect.DeadLetter) error {
		for _, d := range batch {
			got[d.Offset] = d
		}
		return nil
	}
	down := errors.New("the topic is away")
	if _, err := outbox.PublishDeadLetters(f.ctx(), 10, func([]connect.DeadLetter) error { return down }); !errors.Is(err, down) {
		f.Fatalf("PublishDeadLetters gave %v, want %v", err, down)
	}
	for i, want := range []int{2, 1, 0} {
		n, err := outbox.PublishDeadLetters(f.ctx(), 2, collect)
		if err != nil || n != want {
			f.Fatalf("PublishDeadLetters number %d gave %d and %v, want %d", i+1, n, err, want)
		}
	}
	for _, want := range letters {
		d, ok := got[want.Offset]
		if !ok || d.TopicPartition != p {
			f.Fatalf("%s@%d was not published", p, want.Offset)
		}
		if d.Timestamp != want.Timestamp || !bytes.Equal(d.Key, want.Key) || (d.Key == nil) != (want.Key == nil) ||
			!bytes.Equal(d.Value, want.Value) || !reflect.DeepEqual(d.Headers, want.Headers) && len(d.Headers)+len(want.Headers) > 0 {
			f.Errorf("published %+v, want %+v", d.Record, want)
		}
		if d.Err == nil || d.Err.Stage != want.Err.Stage || d.Err.Reason != want.Err.Reason || d.Err.Message != want.Err.Message {
			f.Errorf("published the reason %+v, want %+v", d.Err, want.Err)
		}
	}
}

// testBadRecord: a record that the target refuses is found by halves, passes as
// a dead letter, and costs no other record (promise 6).
func testBadRecord(f *fixture) {
	f.need(f.target.Bad != nil, "Target.Bad")
	a, p, q := f.sink(), f.tp(0), f.tp(1)
	a.open(0, p, q)
	part := func(start, next int64) connect.Part {
		records := f.part(p, start, next).Records
		if start <= 5 && 5 < next {
			records[5-start] = f.bad(p, 5)
		}
		return partOf(p, start, records...)
	}
	a.bad(p, 5, part(0, 8), f.part(q, 0, 2))
	a.put(f.part(q, 0, 2))
	a.bad(p, 5, part(0, 8))
	a.put(part(0, 4))
	a.bad(p, 5, part(4, 8))
	a.bad(p, 5, part(4, 6))
	a.put(part(4, 5))
	a.bad(p, 5, part(5, 6))
	a.put(partOf(p, 5, f.deadLetter(p, 5)))
	a.put(part(6, 8))
	f.wantRows(f.rows(p, 0, 5), f.rows(p, 6, 8), f.rows(q, 0, 2))
	f.wantNext(8, p)
	f.wantLedger(map[connect.TopicPartition]connect.Counts{p: {Written: 7, DeadLettered: 1}, q: {Written: 2}})
}

// testBadStoresNothing: after bad data neither rows nor offsets, in any partition
// (promise 1).
func testBadStoresNothing(f *fixture) {
	f.need(f.target.Bad != nil, "Target.Bad")
	a, tps := f.sink(), f.tps(5)
	a.open(0, tps...)
	a.put(f.part(tps[0], 0, 1))
	parts := []connect.Part{f.part(tps[0], 1, 4)}
	for _, tp := range tps[1:] {
		parts = append(parts, f.part(tp, 0, 3))
	}
	parts[1].Records[1] = f.deadLetter(tps[1], 1)
	parts[2].Records[2] = f.bad(tps[2], 2)
	a.bad(tps[2], 2, parts...)
	f.wantRows(f.rows(tps[0], 0, 1))
	f.wantNext(1, tps[0])
	f.wantNext(0, tps[1:]...)
	f.wantLedger(map[connect.TopicPartition]connect.Counts{tps[0]: {Written: 1}, tps[1]: {}, tps[2]: {}})
}

// testRepeatedKeys: of the records of one key the last wins, in one batch, in
// the next, and in none twice.
func testRepeatedKeys(f *fixture) {
	f.need(f.target.NewerWins, "Target.NewerWins")
	a, p := f.sink(), f.tp(0)
	a.open(0, p)
	one := func(content int64) Row { return Row{Key: 7, Content: content} }
	res := a.put(partOf(p, 0,
		f.good(p, 0, one(10)), f.good(p, 1, Row{Key: 8, Content: 5}), f.good(p, 2, one(20)), f.good(p, 3, one(15))))
	if c := res.Counts[0]; c.Written != 2 || c.Merged != 2 || c.Inserted != 2 {
		f.Errorf("counted %+v, want 2 written, 2 inserted, 2 merged", c)
	}
	f.wantRows([]Row{one(15), {Key: 8, Content: 5}})
	res = a.put(partOf(p, 4, f.good(p, 4, one(30))))
	if c := res.Counts[0]; c.Written != 1 || c.Inserted != 0 {
		f.Errorf("counted %+v, want 1 written, 0 inserted", c)
	}
	f.wantRows([]Row{one(30), {Key: 8, Content: 5}})
}

// testStale: an older record of another partition does not overwrite a newer one,
// in whatever order they arrive (promise 5).
func testStale(f *fixture) {
	f.need(f.target.NewerWins, "Target.NewerWins")
	topic := f.target.Topics[0]
	p, q := connect.TopicPartition{Topic: topic}, connect.TopicPartition{Topic: topic, Partition: 1}
	a := f.sink()
	a.open(0, p, q)
	at := func(tp connect.TopicPartition, offset, ms, content int64) connect.Part {
		r := f.good(tp, offset, Row{Key: 7, Content: content})
		r.Timestamp = baseTimestamp + ms
		return partOf(tp, offset, r)
	}
	a.put(at(p, 0, 500, 10))
	if c := a.put(at(q, 0, 400, 20)).Counts[0]; c.Stale != 1 {
		f.Errorf("an older record was counted %+v, want 1 stale", c)
	}
	f.wantRows([]Row{{Key: 7, Content: 10}})
	a.put(at(q, 1, 600, 30))
	f.wantRows([]Row{{Key: 7, Content: 30}})
	a.put(at(p, 1, 600, 40))
	f.wantRows([]Row{{Key: 7, Content: 30}})
	res := a.put(at(p, 2, 800, 50), at(q, 2, 700, 60))
	if c := res.Counts; c[0].Written != 1 || c[1].Merged+c[1].Stale != 1 {
		f.Errorf("in one batch counted %+v, want the later written and the other merged", c)
	}
	f.wantRows([]Row{{Key: 7, Content: 50}})
}

// testConcurrent: sinks over disjoint partitions work side by side.
func testConcurrent(f *fixture) {
	const sinks, rounds = 4, int64(8)
	tps := f.tps(2 * sinks)
	var wg sync.WaitGroup
	for i := range sinks {
		o, mine := f.sink(), tps[2*i:2*i+2]
		var batches [][]connect.Part
		for n := range rounds {
			batches = append(batches, []connect.Part{f.part(mine[0], 3*n, 3*n+3), f.part(mine[1], 3*n, 3*n+3)})
		}
		claims, ctx := o.claims(0, mine), f.ctx()
		wg.Go(func() {
			if _, err := o.Open(ctx, claims); err != nil {
				f.Errorf("Open: %v", err)
				return
			}
			for _, parts := range batches {
				if _, err := o.try(ctx, parts...); err != nil {
					f.Errorf("Put: %v", err)
					return
				}
			}
			if err := o.Release(ctx, slices.Clone(mine)); err != nil {
				f.Errorf("Release: %v", err)
			}
		})
	}
	wg.Wait()
	var want []Row
	for _, tp := range tps {
		want = append(want, f.rows(tp, 0, 3*rounds)...)
	}
	f.wantRows(want)
	f.wantNext(3*rounds, tps...)
}
