package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

// resetTarget is the value of --to: an offset, or what offsets.initial takes.
type resetTarget struct {
	text    string
	offset  int64 // where initial is ""
	initial string
}

func parseResetTarget(text string) (resetTarget, error) {
	if text == "earliest" || text == "latest" {
		return resetTarget{text: text, initial: text}, nil
	}
	if _, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return resetTarget{text: text, initial: text}, nil
	}
	offset, err := strconv.ParseInt(text, 10, 64)
	if err != nil || offset < 0 {
		return resetTarget{}, fmt.Errorf("--to: %q is neither earliest nor latest nor an offset nor a time such as 2026-01-31T12:00:00Z", text)
	}
	return resetTarget{text: text, offset: offset}, nil
}

// resetLine is what a reset does to one partition. Again counts the offsets that
// are stored already and would be read again, Skipped those that the log holds
// and that would not be read.
type resetLine struct {
	Partition int32  `json:"partition"`
	From      *int64 `json:"from"` // nil: never seen
	To        int64  `json:"to"`
	Again     int64  `json:"read_again"`
	Skipped   int64  `json:"skipped"`
}

// resetPlan is what a reset of one topic would do.
type resetPlan struct {
	topic string
	lines []resetLine
	// madeAgain says that the log is not the one that the ledger speaks of; id is
	// the new one's, where the broker gives one.
	madeAgain bool
	id        connect.TopicID
}

// planReset says what would become of the topic's partitions, or of those that
// are named.
func (o *offsets) planReset(ctx context.Context, topic string, partitions []int32, to resetTarget) (*resetPlan, error) {
	plan := &resetPlan{topic: topic}
	var err error
	if plan.madeAgain, err = o.madeAgain(ctx, topic); err != nil {
		return nil, err
	}
	if plan.madeAgain && len(partitions) > 0 {
		return nil, fmt.Errorf("topic %s was made again, so none of its partitions can go on where it stood; leave out --partition", topic)
	}
	found := map[int32]bool{}
	for _, claim := range o.claims {
		if claim.Topic != topic {
			continue
		}
		found[claim.Partition] = true
		plan.id = claim.TopicID
		if len(partitions) > 0 && !slices.Contains(partitions, claim.Partition) {
			continue
		}
		line, err := o.planPartition(claim, to, plan.madeAgain)
		if err != nil {
			return nil, err
		}
		plan.lines = append(plan.lines, line)
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("there is no topic %s among those that %s reads: %s", topic, o.name, some(o.topics()))
	}
	for _, p := range partitions {
		if !found[p] {
			return nil, fmt.Errorf("topic %s has no partition %d; it has %s", topic, p, count(len(found), "partition"))
		}
	}
	return plan, nil
}

func (o *offsets) planPartition(claim connect.Claim, to resetTarget, madeAgain bool) (resetLine, error) {
	b := o.bounds[claim.TopicPartition]
	line := resetLine{Partition: claim.Partition, To: claim.Begin}
	switch to.initial {
	case "latest":
		line.To = b.Stable // read after the ledger, so that it does not lie before it
	case "":
		if to.offset < b.Start || to.offset > b.Stable {
			return line, fmt.Errorf("--to: %d is outside the log of %s, which holds %d..%d", to.offset, claim.TopicPartition, b.Start, b.Stable)
		}
		line.To = to.offset
	}
	row, seen := o.ledger[claim.TopicPartition]
	if seen {
		line.From = &row.NextOffset
	}
	line.count(b, madeAgain)
	return line, nil
}

// count finds what lies between From and To in the log.
func (l *resetLine) count(b connect.Bounds, madeAgain bool) {
	from := b.Start // a log that was never read begins there
	if l.From != nil && !madeAgain {
		from = min(max(*l.From, b.Start), b.End)
	}
	l.Again, l.Skipped = max(0, from-l.To), max(0, l.To-from)
}

// madeAgain says whether the topic's log is not the one that the ledger speaks
// of. Where the broker gives topics no identity, a log that ends before the
// ledger or that holds another record at the last stored offset tells.
func (o *offsets) madeAgain(ctx context.Context, topic string) (bool, error) {
	for _, claim := range o.claims {
		row, seen := o.ledger[claim.TopicPartition]
		if claim.Topic != topic || !seen {
			continue
		}
		b := o.bounds[claim.TopicPartition]
		if id := b.TopicID.String(); id != "" && row.TopicID != "" {
			if id != row.TopicID {
				return true, nil
			}
			continue // the same topic, though its log may have been cut
		}
		if row.NextOffset > b.End {
			return true, nil
		}
		other, err := o.otherRecord(ctx, row, b)
		if err != nil || other {
			return other, err
		}
	}
	return false, nil
}

// otherRecord says whether the record at the last stored offset has another time
// than the one that was stored.
func (o *offsets) otherRecord(ctx context.Context, row timescalesink.LedgerRow, b connect.Bounds) (bool, error) {
	if row.LastOffset == nil || row.LastTime == nil || *row.LastOffset < b.Start || *row.LastOffset >= b.Stable {
		return false, nil
	}
	span, err := o.log.Read(ctx, row.TopicPartition, *row.LastOffset, *row.LastOffset+1)
	if err != nil {
		return false, fmt.Errorf("reading the last stored record of %s: %w", row.TopicPartition, err)
	}
	return slices.ContainsFunc(span.Records, func(r connect.Record) bool {
		return r.Offset == *row.LastOffset && r.Timestamp != row.LastTime.UnixMilli()
	}), nil
}

// topics are the names of those that exist.
func (o *offsets) topics() []string {
	var names []string
	for _, claim := range o.claims {
		if !slices.Contains(names, claim.Topic) {
			names = append(names, claim.Topic)
		}
	}
	return names
}

// checkTape refuses to go back where rows would be stored twice (promise 4). The
// sink refuses it too; here a dry run learns of it.
func (p *resetPlan) checkTape(target connect.Config) error {
	cfg, ok := target.(*timescalesink.Config)
	if !ok || cfg.TapeReplayIndex || p.madeAgain || !cfg.StoresTape(p.topic) {
		return nil
	}
	for _, l := range p.lines {
		if l.From != nil && l.To < *l.From {
			return errors.New("the table of " + p.topic + " is a tape, where going back would store rows twice; " +
				"set tape.replay.index to true in all replicas, restart them, and reset then")
		}
	}
	return nil
}

// reset is what the sink is to do.
func (p *resetPlan) reset(to resetTarget) timescalesink.Reset {
	r := timescalesink.Reset{
		Next: make(map[connect.TopicPartition]int64, len(p.lines)),
		Note: strings.Join([]string{"offsets reset", p.topic, "to", to.text}, " "),
	}
	for _, l := range p.lines {
		r.Next[connect.TopicPartition{Topic: p.topic, Partition: l.Partition}] = l.To
	}
	if p.madeAgain {
		r.MadeAgain = map[string]connect.TopicID{p.topic: p.id}
	}
	return r
}

// partitionsOf are the keys of two maps, in order.
func partitionsOf[A, B any](a map[connect.TopicPartition]A, b map[connect.TopicPartition]B) []connect.TopicPartition {
	all := make([]connect.TopicPartition, 0, max(len(a), len(b)))
	for tp := range a {
		all = append(all, tp)
	}
	for tp := range b {
		if _, both := a[tp]; !both {
			all = append(all, tp)
		}
	}
	slices.SortFunc(all, connect.TopicPartition.Compare)
	return all
}
