package files

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// run is the publishing of one file. One goroutine reads, settles and saves; the
// client's only set results.
type run struct {
	*Publishing
	in      *input
	kind    marketdata.Kind
	format  Format
	table   *table // of a CSV file
	lines   *lines
	window  *window
	rejects *rejects
	tempo   *tempo
	kept    *kept // nil where no place is kept
	before  int64 // compressed bytes of the files before this one
	found   map[int64]bool
	quiet   bool // a further pass: what is rejected was told of
	summary *FileSummary

	json      []byte
	decoder   marketdata.Decoder
	taken     []*entry
	unsaved   int64 // lines that are accounted for since the place was saved
	ahead     int64 // records that were sent and lie after the saved place
	savedAt   time.Time
	last      *entry
	heardLast time.Time
}

func (r *run) publish(ctx context.Context) error {
	r.savedAt = time.Now()
	err := r.readAll(ctx)
	if err != nil {
		// Whatever ended it: what was sent gets its result, within a limit. Else the
		// next run finds it.
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.stopLimit)
		defer cancel()
		_ = r.publisher.Flush(limited)
		err = errors.Join(err, r.settle(false))
	}
	drained := r.window.first() == nil
	if saveErr := r.save(drained, err == nil); saveErr != nil {
		return errors.Join(err, saveErr)
	}
	if r.summary.Lines < r.lines.number && r.kept == nil {
		r.summary.Lines = r.lines.number
	}
	switch {
	case err == nil && r.opts.DryRun:
		r.summary.State = StateChecked
	case err == nil:
		r.summary.State = StateDone
	case ctx.Err() != nil:
		r.summary.State = StateInterrupted
		if !drained {
			r.opts.Tell(fmt.Sprintf("%s: %d records had no answer within %s; the next run looks which of them arrived", r.in.name, r.window.len(), r.stopLimit))
		}
	default:
		r.summary.State = StateFailed
	}
	return err
}

// readAll reads to the end and waits until every line has its fate.
func (r *run) readAll(ctx context.Context) error {
	for {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		l, err := r.lines.next()
		if errors.Is(err, io.EOF) {
			return r.drain(ctx)
		}
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return fmt.Errorf("%s: %w", r.in.name, r.damaged(err))
		}
		if err := r.take(ctx, l); err != nil {
			return err
		}
	}
}

// damaged says what to do about a file that cannot be read to its end.
func (r *run) damaged(err error) error {
	if r.in.packed == "" {
		return fmt.Errorf("it cannot be read after line %d: %w", r.lines.number, err)
	}
	return fmt.Errorf("the %s stream is cut or damaged after line %d, byte %d of its content: %w; what comes before is published. "+
		"If the file is not whole yet, run the same command again once it is; else get a good copy, and publish what is missing from line %d on",
		r.in.packed, r.lines.number, r.lines.offset, err, r.lines.number+1)
}

// take gives one line its way.
func (r *run) take(ctx context.Context, l line) error {
	text := l.text()
	if l.offset == 0 {
		text = withoutMark(text)
	}
	if len(bytes.TrimSpace(text)) == 0 && !l.long {
		return nil // the place moves with the next record
	}
	e := &entry{offset: l.offset, end: l.offset + int64(len(l.raw)), number: l.number, at: time.Now()}
	if l.long {
		return r.takeLong(ctx, l, e)
	}
	if r.found[l.offset] {
		delete(r.found, l.offset)
		e.raw, e.found, e.done = bytes.Clone(l.raw), true, true
		r.window.add(e)
		return r.settleSome()
	}
	record, err := r.record(text)
	if err == nil && r.opts.DryRun {
		var topic string
		if topic, err = r.publisher.CheckJSON(record); err == nil {
			r.count(topic)
			return nil
		}
	}
	e.raw = bytes.Clone(l.raw)
	if err == nil && !r.opts.DryRun {
		if err = r.pace(ctx, record.Value); err == nil {
			err = r.send(ctx, e, record)
		}
	}
	switch {
	case err == nil:
		return r.settleSome()
	case !publish.IsBadRecord(err):
		return err
	}
	if !l.ended() {
		e.again = r.kept != nil
		err = &marketdata.Error{Reason: reasonCut, Message: fmt.Sprintf("the file ends in the middle of a record: %v", err)}
	}
	e.done, e.err = true, err
	r.window.add(e)
	return r.settleSome()
}

// record makes the record of a line.
func (r *run) record(text []byte) (publish.JSON, error) {
	if len(text) > maxRecordBytes {
		return publish.JSON{}, tooLong()
	}
	record := publish.JSON{Kind: r.kind, Exchange: r.opts.Exchange, Value: text}
	if r.table != nil {
		var err error
		r.json, err = r.table.record(r.json[:0], text)
		record.Value = r.json
		return record, err
	}
	return record, nil
}

func tooLong() error {
	return &marketdata.Error{Reason: reasonTooLong, Message: fmt.Sprintf("the line is longer than a record may be, %d bytes", maxRecordBytes)}
}

// takeLong rejects a line that was not read whole. It goes into the file of
// rejected lines as it is read, so that those before it must be there.
func (r *run) takeLong(ctx context.Context, l line, e *entry) error {
	head := sha256.New()
	head.Write(l.raw)
	to := io.Writer(head)
	if r.keepsRejects() {
		if err := r.drain(ctx); err != nil {
			return err
		}
		if _, err := r.rejects.Write(l.raw); err != nil {
			return err
		}
		to = io.MultiWriter(head, r.rejects)
	}
	if err := r.lines.skipRest(to); err != nil {
		return fmt.Errorf("%s: %w", r.in.name, r.damaged(err))
	}
	e.end, e.sum = r.lines.offset, hex.EncodeToString(head.Sum(nil))
	e.done, e.err = true, tooLong()
	r.window.add(e)
	return r.settleSome()
}

// keepsRejects says whether rejected lines are kept: a dry run does so only
// where it is told to.
func (r *run) keepsRejects() bool { return !r.quiet && (!r.opts.DryRun || r.opts.Reject != "") }

// pace waits until a record is due.
func (r *run) pace(ctx context.Context, value []byte) error {
	clock := r.opts.Clock
	due := time.Time{}
	if r.rate != nil {
		due = r.rate.due(clock.Now())
	}
	if r.tempo != nil {
		if event, ok := r.timeOf(value); ok {
			if at := r.tempo.due(clock.Now(), event); at.After(due) {
				due = at
			}
		}
	}
	for {
		left := due.Sub(clock.Now())
		if left <= 0 || due.IsZero() {
			return nil
		}
		// What was sent before is accounted for meanwhile.
		if err := r.settle(false); err != nil {
			return err
		}
		if err := clock.Wait(ctx, min(left, saveInterval)); err != nil {
			return err
		}
	}
}

// timeOf is a record's own time; false for a bad record, which is rejected when
// it is sent.
func (r *run) timeOf(value []byte) (time.Time, bool) {
	probe := publish.JSON{Kind: r.kind, Exchange: r.opts.Exchange, Value: value}
	if _, err := r.publisher.CheckJSON(probe); err != nil {
		return time.Time{}, false
	}
	return eventTime(&r.decoder, r.kind, value)
}

// send hands a record to the publisher, once there is room for it.
func (r *run) send(ctx context.Context, e *entry, record publish.JSON) error {
	if r.kept != nil {
		record.Headers = originOf(r.kept.Run, e.offset)
	}
	size := int64(len(record.Value)) + 1<<10
	err := r.waitUntil(ctx, func() bool {
		buffered := r.publisher.BufferedBytes()
		return r.ahead < WindowMax && (buffered == 0 || buffered+size <= bufferMax)
	})
	if err != nil {
		return err
	}
	r.window.add(e)
	r.ahead++
	for {
		err := r.publisher.EnqueueJSON(ctx, record, func(res publish.Result) {
			if res.Err == nil {
				r.published.Add(1)
			}
			r.window.set(e, res)
		})
		if err == nil {
			return nil
		}
		if ctx.Err() == nil && errors.Is(err, publish.ErrUnavailable) {
			r.wait(err)
			if err := sleep(ctx, time.Second); err == nil {
				continue
			}
		}
		r.window.remove(e)
		r.ahead--
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if publish.IsBadRecord(err) {
			return err
		}
		return r.advise(err)
	}
}

// advise adds to an error that ends the run how to go on.
func (r *run) advise(err error) error {
	if r.kept == nil {
		return fmt.Errorf("%s, line %d: %w", r.in.name, r.lines.number, err)
	}
	return fmt.Errorf("%s: %w; the place is kept: once this is mended, the same command goes on", r.in.name, err)
}

// drain waits until every line has its fate.
func (r *run) drain(ctx context.Context) error {
	return r.waitUntil(ctx, func() bool { return r.window.first() == nil })
}

// waitUntil settles until something is so.
func (r *run) waitUntil(ctx context.Context, so func() bool) error {
	r.heardLast = time.Now()
	for {
		if err := r.settle(r.ahead >= WindowMax); err != nil {
			return err
		}
		if err := r.window.failure(); err != nil {
			return r.advise(err)
		}
		if so() {
			r.waiting.Store(nil)
			return nil
		}
		timer := time.NewTimer(saveInterval)
		select {
		case <-r.window.changed:
			r.heardLast = time.Now()
			r.waiting.Store(nil)
		case <-timer.C:
			if silent := time.Since(r.heardLast); silent >= silenceMax {
				r.wait(fmt.Errorf("the brokers at %v have not answered for %s; Ctrl-C ends it, and the place is kept", r.opts.Brokers, silenceMax))
			}
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		}
		timer.Stop()
	}
}

// settleSome settles now and then.
func (r *run) settleSome() error {
	if err := r.window.failure(); err != nil {
		return r.advise(err)
	}
	if r.lines.number%256 != 0 {
		return nil
	}
	return r.settle(false)
}

// settle accounts for the lines whose fate is known, in their order, and saves
// the place now and then.
func (r *run) settle(now bool) error {
	r.taken = r.window.take(r.taken[:0])
	for i, e := range r.taken {
		if err := r.account(e); err != nil {
			// The place must not pass it when what came behind it is settled.
			r.window.putBack(r.taken[i:])
			return err
		}
	}
	clear(r.taken)
	if r.kept == nil {
		r.ahead -= min(r.ahead, int64(len(r.taken)))
		return nil
	}
	if r.unsaved > 0 && (now || r.unsaved >= saveLines || time.Since(r.savedAt) >= saveInterval) {
		return r.save(false, false)
	}
	return nil
}

func (r *run) account(e *entry) error {
	switch {
	case e.err != nil:
		if err := r.reject(e); err != nil {
			return err
		}
	case e.found:
		r.summary.Found++
	default:
		r.count(e.result.Topic)
	}
	if r.kept == nil {
		return nil
	}
	p := &r.kept.place
	if e.err == nil {
		p.Published++
		if !e.found {
			r.bound(e)
		}
	} else {
		p.Rejected++
	}
	r.unsaved++
	if e.again {
		// The line may yet be finished: it is read again when the file has grown.
		p.Offset, p.Line, p.Unterminated, p.Cut = e.offset, e.number-1, false, true
		return nil
	}
	r.last = e
	p.Offset, p.Line, p.LastOffset = e.end, e.number, e.offset
	p.Unterminated = e.raw != nil && !bytes.HasSuffix(e.raw, newline)
	return nil
}

// bound keeps where later lines may lie in the partition.
func (r *run) bound(e *entry) {
	p := &r.kept.place
	if p.Next == nil {
		p.Next = map[string]map[int32]int64{}
	}
	if p.Next[e.result.Topic] == nil {
		p.Next[e.result.Topic] = map[int32]int64{}
	}
	p.Next[e.result.Topic][e.result.Partition] = e.result.Offset + 1
}

// count counts a good record.
func (r *run) count(topic string) {
	r.summary.Published++
	r.summary.Topics[topic]++
	if r.opts.DryRun {
		r.published.Add(1)
	}
}

// reject keeps a line, and tells of the first ones.
func (r *run) reject(e *entry) error {
	if r.quiet {
		return nil
	}
	if r.keepsRejects() {
		r.summary.RejectFile = r.rejects.path
		if e.raw != nil {
			if _, err := r.rejects.Write(e.raw); err != nil {
				return err
			}
			if !bytes.HasSuffix(e.raw, newline) {
				if _, err := r.rejects.Write(newline); err != nil {
					return err
				}
			}
		}
	}
	r.summary.Rejected++
	r.rejected.Add(1)
	rejection := Rejection{Line: e.number, Reason: "too_large", Message: e.err.Error()}
	var bad *marketdata.Error
	if errors.As(e.err, &bad) {
		rejection.Field, rejection.Reason, rejection.Message = bad.Field, bad.Reason, bad.Message
	}
	if len(r.summary.Rejections) < shownMax {
		r.summary.Rejections = append(r.summary.Rejections, rejection)
	}
	switch r.shown++; {
	case r.shown <= shownMax:
		field := ""
		if rejection.Field != "" {
			field = rejection.Field + ": "
		}
		advice := ""
		if bad != nil && bad.Field == "exchangeId" && bad.Reason == marketdata.ReasonMissingField && r.opts.Exchange == "" {
			advice = "; name it with --exchange"
		}
		r.opts.Tell(fmt.Sprintf("%s:%d: %s%s (%s)%s", r.in.name, e.number, field, rejection.Message, rejection.Reason, advice))
	case r.shown == shownMax+1:
		r.opts.Tell("further rejected lines are counted, not shown")
	}
	return nil
}

// save keeps the place. clean says that nothing after it was sent.
func (r *run) save(clean, finished bool) error {
	if err := r.rejects.sync(); err != nil {
		return err
	}
	if r.kept == nil {
		return nil
	}
	p := &r.kept.place
	if r.last != nil {
		if p.Last = r.last.sum; r.last.raw != nil {
			p.Last = hash(r.last.raw)
		}
	}
	p.Clean, p.Finished = clean, finished
	if len(r.found) == 0 {
		p.Since = time.Now()
		if first := r.window.first(); first != nil {
			p.Since = first.at
		}
	}
	if err := r.kept.save(); err != nil {
		return err
	}
	r.summary.Lines = p.Line
	r.ahead, r.unsaved, r.savedAt = int64(r.window.len()), 0, time.Now()
	return nil
}

// eventTime decodes a record for its own time.
func eventTime(d *marketdata.Decoder, kind marketdata.Kind, value []byte) (time.Time, bool) {
	id, _ := d.Identify(kind, value, time.Now()) // it may lack the exchange, which was given beside it
	return id.Time, !id.Time.IsZero()
}
