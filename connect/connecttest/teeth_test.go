package connecttest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// broken is a sink over a Memory with one promise taken out. A method that is
// nil is the Memory's own.
type broken struct {
	*memoryLedgerSink
	open      func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error)
	put       func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error)
	positions func(b *broken, ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error)
	release   func(b *broken, ctx context.Context, tps []connect.TopicPartition) error
	close     func(b *broken) error

	initAgain bool // the connector's Init begins anew each time
	initLater bool // the connector's Init takes in what has appeared since

	known map[connect.TopicPartition]connect.Position // for those that remember what they should read
}

func (b *broken) Open(ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
	if b.open != nil {
		return b.open(b, ctx, claims)
	}
	return b.memoryLedgerSink.Open(ctx, claims)
}

func (b *broken) Put(ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	if b.put != nil {
		return b.put(b, ctx, batch)
	}
	return b.memoryLedgerSink.Put(ctx, batch)
}

func (b *broken) Positions(ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
	if b.positions != nil {
		return b.positions(b, ctx, tps)
	}
	return b.memoryLedgerSink.Positions(ctx, tps)
}

func (b *broken) Release(ctx context.Context, tps []connect.TopicPartition) error {
	if b.release != nil {
		return b.release(b, ctx, tps)
	}
	return b.memoryLedgerSink.Release(ctx, tps)
}

func (b *broken) Close() error {
	if b.close != nil {
		return b.close(b)
	}
	return b.memoryLedgerSink.Close()
}

// brokenConnector makes broken sinks.
type brokenConnector struct {
	memoryLedgerConnector
	kind broken
}

func (c brokenConnector) Init(ctx context.Context, claims []connect.Claim) (bool, error) {
	if c.kind.initAgain {
		c.m.mu.Lock()
		delete(c.m.state.ledgers, c.name)
		c.m.mu.Unlock()
	}
	created, err := c.memoryLedgerConnector.Init(ctx, claims)
	if c.kind.initLater && err == nil {
		c.m.mu.Lock()
		defer c.m.mu.Unlock()
		for _, claim := range claims {
			ledger := c.m.generation(c.name).ledger
			if _, known := ledger[claim.TopicPartition]; !known {
				ledger[claim.TopicPartition] = newLedger(claim.Begin)
			}
		}
	}
	return created, err
}

func (c brokenConnector) NewSink(task int) (connect.Sink, error) {
	s, err := c.memoryLedgerConnector.NewSink(task)
	if err != nil {
		return nil, err
	}
	b := c.kind
	b.memoryLedgerSink = s.(*memoryLedgerSink)
	b.known = map[connect.TopicPartition]connect.Position{}
	return &b, nil
}

// edit changes the ledger behind the sink's back.
func (b *broken) edit(tp connect.TopicPartition, f func(l *MemoryLedger)) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	g := b.m.generation(b.connector)
	l := g.ledger[tp]
	f(&l)
	g.ledger[tp] = l
}

// inner is the Memory's own Put.
func (b *broken) inner(ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	return b.memoryLedgerSink.Put(ctx, batch)
}

func putNoFence(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	for i := range batch.Parts {
		tp := batch.Parts[i].TopicPartition
		b.edit(tp, func(l *MemoryLedger) { l.Next = batch.Parts[i].Start })
	}
	return b.inner(ctx, batch)
}

func putUnopened(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	b.m.mu.Lock()
	g := b.m.generation(b.connector)
	for _, p := range batch.Parts {
		if _, known := g.ledger[p.TopicPartition]; !known {
			g.ledger[p.TopicPartition] = newLedger(p.Start)
			b.claimed[p.TopicPartition] = g.number
		}
	}
	b.m.mu.Unlock()
	return b.inner(ctx, batch)
}

func putOffsetOutside(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	res, err := b.inner(ctx, batch)
	if errors.As(err, new(*connect.BadDataError)) {
		for _, p := range batch.Parts {
			b.edit(p.TopicPartition, func(l *MemoryLedger) { l.Next = p.Next })
		}
	}
	return res, err
}

func putRowsOutside(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	res, err := b.inner(ctx, batch)
	if errors.As(err, new(*connect.BadDataError)) {
		for i := range batch.Parts {
			b.smuggle(&batch.Parts[i])
		}
	}
	return res, err
}

// smuggle stores a part's rows beside the ledger, unless one of them is bad.
func (b *broken) smuggle(p *connect.Part) {
	b.m.mu.Lock()
	defer b.m.mu.Unlock()
	if rows, err := b.m.decode(p); err == nil {
		b.m.state.tape = append(b.m.state.tape, rows...)
	}
}

// putPartwise commits each partition by itself.
func putPartwise(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	var all connect.Result
	for _, p := range batch.Parts {
		res, err := b.inner(ctx, &connect.Batch{Parts: []connect.Part{p}})
		if err != nil {
			return connect.Result{}, err
		}
		all.Counts = append(all.Counts, res.Counts...)
	}
	return all, nil
}

func putDropsBad(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
	batch = cloneBatch(batch)
	for {
		res, err := b.inner(ctx, batch)
		var bad *connect.BadDataError
		if !errors.As(err, &bad) {
			return res, err
		}
		for i := range batch.Parts {
			for j := range batch.Parts[i].Records {
				if r := &batch.Parts[i].Records[j]; batch.Parts[i].TopicPartition == bad.At && r.Offset == bad.Offset {
					r.Filtered = true
				}
			}
		}
	}
}

// counting changes the counts of each part after the fact.
func counting(f func(p *connect.Part, c *connect.Counts)) func(*broken, context.Context, *connect.Batch) (connect.Result, error) {
	return func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
		res, err := b.inner(ctx, batch)
		for i := range res.Counts {
			f(&batch.Parts[i], &res.Counts[i])
		}
		return res, err
	}
}

// failing changes the error of each Put that fails.
func failing(f func(batch *connect.Batch, err error) error) func(*broken, context.Context, *connect.Batch) (connect.Result, error) {
	return func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
		res, err := b.inner(ctx, batch)
		if err != nil {
			err = f(batch, err)
		}
		return res, err
	}
}

// with replaces an error of one kind.
func with[E error](f func(batch *connect.Batch, e E) error) func(*broken, context.Context, *connect.Batch) (connect.Result, error) {
	return failing(func(batch *connect.Batch, err error) error {
		var e E
		if errors.As(err, &e) {
			return f(batch, e)
		}
		return err
	})
}

func partitions(batch *connect.Batch) []connect.TopicPartition {
	var tps []connect.TopicPartition
	for _, p := range batch.Parts {
		tps = append(tps, p.TopicPartition)
	}
	return tps
}

// changed has each record of a copy of the batch changed before it is put.
func changed(f func(r *connect.Record)) func(*broken, context.Context, *connect.Batch) (connect.Result, error) {
	return func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
		batch = cloneBatch(batch)
		for i := range batch.Parts {
			for j := range batch.Parts[i].Records {
				f(&batch.Parts[i].Records[j])
			}
		}
		return b.inner(ctx, batch)
	}
}

// breakages each take one promise out; fails names a case that must notice.
var breakages = []struct {
	name  string
	fails []string
	kind  broken
	cfg   MemoryConfig
}{
	{name: "no fence", fails: []string{"ReplayIsFenced", "TwoOwners", "TwoOwnersRace", "OneFencedAmongMany", "RandomSchedule"}, kind: broken{put: putNoFence}},
	{name: "stores partitions that nobody opened", fails: []string{"UnopenedPartition"}, kind: broken{put: putUnopened}},
	{name: "the offset moves outside the transaction", fails: []string{"BadRecordStoresNothing", "BadRecord", "RandomSchedule"}, kind: broken{put: putOffsetOutside}},
	{name: "the rows are stored outside the transaction", fails: []string{"BadRecordStoresNothing", "BadRecord"}, kind: broken{put: putRowsOutside}},
	{name: "a transaction for each partition", fails: []string{"OneFencedAmongMany", "BadRecordStoresNothing", "RandomSchedule"}, kind: broken{put: putPartwise}},
	{name: "drops bad records in silence", fails: []string{"BadRecord", "BadRecordStoresNothing", "RandomSchedule"}, kind: broken{put: putDropsBad}},
	{name: "drops a good record in silence", fails: []string{"RowsAndOffsetsMoveTogether", "RandomSchedule"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			batch = cloneBatch(batch)
			for i := range batch.Parts {
				if r := batch.Parts[i].Records; len(r) > 1 && r[0].Err == nil {
					r[0].Filtered = true
				}
			}
			res, err := b.inner(ctx, batch)
			for i := range res.Counts {
				if r := batch.Parts[i].Records; len(r) > 1 && r[0].Err == nil {
					res.Counts[i].Filtered--
					res.Counts[i].Written++
				}
			}
			return res, err
		},
	}},
	{name: "fates do not add up", fails: []string{"RowsAndOffsetsMoveTogether"}, kind: broken{
		put: counting(func(_ *connect.Part, c *connect.Counts) { c.Written++ }),
	}},
	{name: "absent counted as filtered", fails: []string{"OffsetsWithoutRecords"}, kind: broken{
		put: counting(func(_ *connect.Part, c *connect.Counts) { c.Filtered, c.Absent = c.Filtered+c.Absent, 0 }),
	}},
	{name: "dead letters counted as written", fails: []string{"DeadLetters"}, kind: broken{
		put: counting(func(_ *connect.Part, c *connect.Counts) { c.Written, c.DeadLettered = c.Written+c.DeadLettered, 0 }),
	}},
	{name: "more inserted than written", fails: []string{"RowsAndOffsetsMoveTogether"}, kind: broken{
		put: counting(func(_ *connect.Part, c *connect.Counts) { c.Inserted++ }),
	}},
	{name: "counts one part too few", fails: []string{"RowsAndOffsetsMoveTogether"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			if len(res.Counts) > 1 {
				res.Counts = res.Counts[1:]
			}
			return res, err
		},
	}},
	{name: "a wrong account in the ledger", fails: []string{"OffsetsWithoutRecords", "RandomSchedule"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			for i := range res.Counts {
				b.edit(batch.Parts[i].TopicPartition, func(l *MemoryLedger) {
					l.Counts.Written += l.Counts.Absent
					l.Counts.Absent = 0
				})
			}
			return res, err
		},
	}},
	{name: "ignores its context", fails: []string{"CancelledContext", "RandomSchedule"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			return b.inner(context.WithoutCancel(ctx), batch)
		},
	}},
	{name: "Open ignores its context", fails: []string{"CancelledContext"}, kind: broken{
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			return b.memoryLedgerSink.Open(context.WithoutCancel(ctx), claims)
		},
	}},
	{name: "stores half of what its context stops", fails: []string{"CancelledContext", "RandomSchedule"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			if ctx.Err() == nil {
				return b.inner(ctx, batch)
			}
			b.smuggle(&batch.Parts[0])
			return connect.Result{}, ctx.Err()
		},
	}},
	{name: "blames a record for an ended context", fails: []string{"CancelledContext", "StalledTarget"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			if ctx.Err() != nil {
				err = &connect.BadDataError{Offset: -1, Record: connect.RecordError{Message: "stopped"}}
			}
			return res, err
		},
	}},
	{name: "an outage is not Retriable", fails: []string{"Outage", "LostAnswer", "RandomSchedule"}, kind: broken{
		put: failing(func(_ *connect.Batch, err error) error {
			if connect.IsRetriable(err) {
				return errors.New(err.Error())
			}
			return err
		}),
	}},
	{name: "an outage is taken for success", fails: []string{"Outage", "RandomSchedule"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			if !connect.IsRetriable(err) || ctx.Err() != nil {
				return res, err
			}
			for _, p := range batch.Parts {
				res.Counts = append(res.Counts, connect.Counts{Written: p.Next - p.Start})
			}
			return res, nil
		},
	}},
	{name: "tries again without asking where it stands", fails: []string{"LostAnswer", "RandomSchedule"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			if connect.IsRetriable(err) && ctx.Err() == nil {
				return putNoFence(b, ctx, batch)
			}
			return res, err
		},
	}},
	{name: "bad data is Retriable", fails: []string{"BadRecord", "RandomSchedule"}, kind: broken{
		put: with(func(_ *connect.Batch, e *connect.BadDataError) error { return connect.Retriable(e) }),
	}},
	{name: "bad data without a kind", fails: []string{"BadRecord", "RandomSchedule"}, kind: broken{
		put: with(func(_ *connect.Batch, e *connect.BadDataError) error { return errors.New(e.Error()) }),
	}},
	{name: "blames the wrong record", fails: []string{"BadRecord"}, kind: broken{
		put: with(func(_ *connect.Batch, e *connect.BadDataError) error {
			return &connect.BadDataError{Record: e.Record, At: e.At, Offset: e.Offset + 1}
		}),
	}},
	{name: "a fence that names every partition", fails: []string{"OneFencedAmongMany", "RandomSchedule"}, kind: broken{
		put: with(func(batch *connect.Batch, _ *connect.FencedError) error {
			return &connect.FencedError{Moved: partitions(batch)}
		}),
	}},
	{name: "a fence that names none", fails: []string{"TwoOwners", "OneFencedAmongMany"}, kind: broken{
		put: with(func(*connect.Batch, *connect.FencedError) error { return &connect.FencedError{} }),
	}},
	{name: "a fence that is Retriable", fails: []string{"TwoOwners"}, kind: broken{
		put: with(func(_ *connect.Batch, e *connect.FencedError) error { return connect.Retriable(e) }),
	}},
	{name: "a fence that stores the others", fails: []string{"OneFencedAmongMany", "RandomSchedule"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			var fence *connect.FencedError
			if errors.As(err, &fence) {
				others := &connect.Batch{}
				for _, p := range batch.Parts {
					if !slices.Contains(fence.Moved, p.TopicPartition) {
						others.Parts = append(others.Parts, p)
					}
				}
				_, _ = b.inner(ctx, others)
			}
			return res, err
		},
	}},
	{name: "busy taken for moved", fails: []string{"BusyPartition"}, kind: broken{
		put: with(func(_ *connect.Batch, e *connect.FencedError) error {
			return &connect.FencedError{Moved: append(e.Moved, e.Busy...)}
		}),
	}},
	{name: "changes its batch", fails: []string{"RowsAndOffsetsMoveTogether"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			for i := range batch.Parts {
				slices.Reverse(batch.Parts[i].Records)
			}
			return res, err
		},
	}},
	{name: "offsets without records do not move", fails: []string{"OffsetsWithoutRecords", "Positions"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			if batch.Records() > 0 || len(batch.Parts) == 0 {
				return b.inner(ctx, batch)
			}
			var res connect.Result
			for _, p := range batch.Parts {
				res.Counts = append(res.Counts, connect.Counts{Absent: p.Absent, Expired: p.Expired})
			}
			return res, nil
		},
	}},
	{name: "stores filtered records", fails: []string{"FilteredRecords"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			for i := range res.Counts {
				if res.Counts[i].Filtered > 0 {
					b.m.mu.Lock()
					b.m.state.tape = append(b.m.state.tape, MemoryRow{Key: "0", Value: "0"})
					b.m.mu.Unlock()
				}
			}
			return res, err
		},
	}},
	{name: "dead letters lose their bytes", fails: []string{"PublishDeadLetters"}, kind: broken{
		put: changed(func(r *connect.Record) {
			if r.Err != nil {
				r.Value = []byte("?")
			}
		}),
	}},
	{name: "dead letters lose their reason", fails: []string{"PublishDeadLetters"}, kind: broken{
		put: changed(func(r *connect.Record) {
			if r.Err != nil {
				r.Err = &connect.RecordError{Stage: r.Err.Stage, Message: "bad"}
			}
		}),
	}},
	{name: "dead letters are forgotten", fails: []string{"PublishDeadLetters"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			b.m.mu.Lock()
			defer b.m.mu.Unlock()
			b.m.state.letters = nil
			return res, err
		},
	}},
	{name: "the first of a key wins", cfg: MemoryConfig{Upsert: true}, fails: []string{"RepeatedKeys"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			b.m.mu.Lock()
			before := b.m.state.clone().rows
			b.m.mu.Unlock()
			res, err := b.inner(ctx, batch)
			b.m.mu.Lock()
			defer b.m.mu.Unlock()
			for key, row := range before {
				b.m.state.rows[key] = row
			}
			return res, err
		},
	}},
	{name: "the last to arrive wins", cfg: MemoryConfig{Upsert: true}, fails: []string{"OlderRecordIsStale", "RandomSchedule"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			res, err := b.inner(ctx, batch)
			if err != nil {
				return res, err
			}
			b.m.mu.Lock()
			defer b.m.mu.Unlock()
			for i := range batch.Parts {
				rows, _ := b.m.decode(&batch.Parts[i])
				for _, r := range rows {
					b.m.state.rows[r.Key] = r
				}
			}
			return res, err
		},
	}},
	{name: "begins again at each Open", fails: []string{"Reopen", "OpenTwice", "ReleaseThenOpen", "RandomSchedule"}, kind: broken{
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			for _, c := range claims {
				b.edit(c.TopicPartition, func(l *MemoryLedger) { *l = newLedger(c.Begin) })
			}
			return b.memoryLedgerSink.Open(ctx, claims)
		},
	}},
	{name: "Open sorts its answer", fails: []string{"OpenAnswersInTheClaimsOrder"}, kind: broken{
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			claims = slices.SortedFunc(slices.Values(claims), func(a, b connect.Claim) int { return a.Compare(b.TopicPartition) })
			return b.memoryLedgerSink.Open(ctx, claims)
		},
	}},
	{name: "refuses a second Open", fails: []string{"OpenTwice"}, kind: broken{
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			for _, c := range claims {
				if _, open := b.claimed[c.TopicPartition]; open {
					return nil, errors.New("it is open")
				}
			}
			return b.memoryLedgerSink.Open(ctx, claims)
		},
	}},
	{name: "Open says NoOffset", fails: []string{"RowsAndOffsetsMoveTogether"}, kind: broken{
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			at, err := b.memoryLedgerSink.Open(ctx, claims)
			for i := range at {
				at[i].Next = connect.NoOffset
			}
			return at, err
		},
	}},
	{name: "takes a topic made again for the old one", fails: []string{"LogMadeAgain"}, kind: broken{
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			claims = slices.Clone(claims)
			for i := range claims {
				claims[i].TopicID = connect.TopicID{}
			}
			return b.memoryLedgerSink.Open(ctx, claims)
		},
	}},
	{name: "believes an old end of the log", fails: []string{"LogMadeAgain"}, kind: broken{
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			at, err := b.memoryLedgerSink.Open(ctx, claims)
			for i := range at {
				if at[i].Next > claims[i].LogEnd {
					at[i].Err = &connect.RefusedError{At: claims[i].TopicPartition, Reason: "ahead of the log", Advice: "reset"}
				}
			}
			return at, err
		},
	}},
	{name: "a topic made again stops the whole Open", fails: []string{"LogMadeAgain"}, kind: broken{
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			at, err := b.memoryLedgerSink.Open(ctx, claims)
			for _, p := range at {
				err = errors.Join(err, p.Err)
			}
			return at, err
		},
	}},
	{name: "Positions sorts its answer", fails: []string{"Positions"}, kind: broken{
		positions: func(b *broken, ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
			tps = slices.SortedFunc(slices.Values(tps), connect.TopicPartition.Compare)
			return b.memoryLedgerSink.Positions(ctx, tps)
		},
	}},
	{name: "Positions remembers instead of reading", fails: []string{"ReplayIsFenced", "LostAnswer", "RestoredStore"}, kind: broken{
		positions: func(b *broken, ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
			at, err := b.memoryLedgerSink.Positions(ctx, tps)
			for i := range at {
				if old, ok := b.known[tps[i]]; ok {
					at[i] = old
				}
			}
			return at, err
		},
		open: func(b *broken, ctx context.Context, claims []connect.Claim) ([]connect.Position, error) {
			at, err := b.memoryLedgerSink.Open(ctx, claims)
			for i := range at {
				b.known[claims[i].TopicPartition] = at[i]
			}
			return at, err
		},
	}},
	{name: "Positions stays in the old generation", fails: []string{"Reset"}, kind: broken{
		positions: func(b *broken, ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
			old := map[connect.TopicPartition]int{}
			for tp, g := range b.claimed {
				old[tp] = g
			}
			at, err := b.memoryLedgerSink.Positions(ctx, tps)
			b.claimed = old
			return at, err
		},
	}},
	{name: "does not look at the generation", fails: []string{"Reset"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			b.m.mu.Lock()
			for tp := range b.claimed {
				b.claimed[tp] = b.m.generation(b.connector).number
			}
			b.m.mu.Unlock()
			return b.inner(ctx, batch)
		},
	}},
	{name: "Positions moves the offset", fails: []string{"Positions", "RandomSchedule"}, kind: broken{
		positions: func(b *broken, ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
			at, err := b.memoryLedgerSink.Positions(ctx, tps)
			for _, tp := range tps {
				b.edit(tp, func(l *MemoryLedger) { l.Next++ })
			}
			return at, err
		},
	}},
	{name: "forgets the last record's time", fails: []string{"Positions"}, kind: broken{
		positions: func(b *broken, ctx context.Context, tps []connect.TopicPartition) ([]connect.Position, error) {
			at, err := b.memoryLedgerSink.Positions(ctx, tps)
			for i := range at {
				at[i].LastTimestamp = -1
			}
			return at, err
		},
	}},
	{name: "Release deletes the ledger", fails: []string{"ReleaseThenOpen", "RandomSchedule"}, kind: broken{
		release: func(b *broken, ctx context.Context, tps []connect.TopicPartition) error {
			b.m.mu.Lock()
			for _, tp := range tps {
				delete(b.m.generation(b.connector).ledger, tp)
			}
			b.m.mu.Unlock()
			return b.memoryLedgerSink.Release(ctx, tps)
		},
	}},
	{name: "Release gives up every partition", fails: []string{"ReleaseThenOpen"}, kind: broken{
		release: func(b *broken, ctx context.Context, _ []connect.TopicPartition) error {
			var all []connect.TopicPartition
			for tp := range b.claimed {
				all = append(all, tp)
			}
			return b.memoryLedgerSink.Release(ctx, all)
		},
	}},
	{name: "Init begins anew each time", fails: []string{"Init"}, kind: broken{initAgain: true}},
	{name: "Init takes in what has appeared since", fails: []string{"Init"}, kind: broken{initLater: true}},
	{name: "waits for a target that does not answer", fails: []string{"StalledTarget"}, kind: broken{
		put: func(b *broken, ctx context.Context, batch *connect.Batch) (connect.Result, error) {
			return b.inner(context.WithoutCancel(ctx), batch)
		},
	}},
	{name: "a second Close fails", fails: []string{"Close"}, kind: broken{
		close: func(b *broken) error {
			if b.closed {
				return errors.New("closed twice")
			}
			return b.memoryLedgerSink.Close()
		},
	}},
	{name: "Close takes the store from the others", fails: []string{"Close"}, kind: broken{
		close: func(b *broken) error {
			b.m.SetOutage(true)
			return b.memoryLedgerSink.Close()
		},
	}},
}

// TestTeeth: the suite notices each broken promise, in each case that names it.
func TestTeeth(t *testing.T) {
	t.Parallel()
	for _, b := range breakages {
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			target := memoryTarget(b.cfg)
			target.New = func(testing.TB) *Store {
				cfg := b.cfg
				cfg.Bad = refuseBad
				m := NewMemory(cfg)
				s := memoryStore(m)
				s.Connector = func(testing.TB) connect.Connector {
					return brokenConnector{memoryLedgerConnector{memoryConnector{m: m, name: testConnector}}, b.kind}
				}
				return s
			}
			for _, name := range b.fails {
				if r := record(t, caseNamed(t, name), target); !r.Failed() {
					t.Errorf("the case %s passed; it said %q", name, r.messages)
				}
			}
		})
	}
}

func caseNamed(t *testing.T, name string) testCase {
	t.Helper()
	i := slices.IndexFunc(cases, func(c testCase) bool { return c.name == name })
	if i < 0 {
		t.Fatalf("there is no case %s", name)
	}
	return cases[i]
}

// TestEveryCaseHasTeeth: no case is there that nothing broken fails.
func TestEveryCaseHasTeeth(t *testing.T) {
	t.Parallel()
	var proven []string
	for _, b := range breakages {
		proven = append(proven, b.fails...)
	}
	for _, b := range plainBreakages {
		proven = append(proven, b.fails...)
	}
	for _, c := range cases {
		if !slices.Contains(proven, c.name) {
			t.Errorf("no broken sink is known to fail the case %s", c.name)
		}
	}
}
