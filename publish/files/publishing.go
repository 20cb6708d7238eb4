package files

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// ErrInterrupted says that a run was stopped before its files were done. The
// next one goes on where it ended.
var ErrInterrupted = errors.New("interrupted")

// Publishing publishes files, one after the other.
type Publishing struct {
	opts      Options
	publisher *publish.Publisher
	client    []kgo.Opt
	store     store
	cluster   string
	rate      *rate
	shown     int // rejected lines that were told of
	stopLimit time.Duration
	summary   Summary

	// What Progress shows.
	file      atomic.Pointer[string]
	read      atomic.Int64 // compressed bytes of this pass
	size      int64        // of all files; -1 where it is not known
	skipped   atomic.Int64 // compressed bytes that were not published by this run
	published atomic.Int64
	rejected  atomic.Int64
	pass      atomic.Int64
	waiting   atomic.Pointer[string]
}

// Progress is how far a run has come.
type Progress struct {
	File                string
	Read, Size, Skipped int64 // compressed bytes of the pass; Size is -1 where it is not known
	Published, Rejected int64 // by this run
	Pass                int64 // from 1
	Waiting             string
}

// Progress may be called while Run runs.
func (p *Publishing) Progress() Progress {
	now := Progress{
		Read: p.read.Load(), Size: p.size, Skipped: p.skipped.Load(),
		Published: p.published.Load(), Rejected: p.rejected.Load(), Pass: p.pass.Load(),
	}
	if f := p.file.Load(); f != nil {
		now.File = *f
	}
	if w := p.waiting.Load(); w != nil {
		now.Waiting = *w
	}
	return now
}

// New checks the options and the files. It asks the brokers nothing.
func New(o Options, paths []string) (*Publishing, error) {
	if err := o.validate(paths); err != nil {
		return nil, err
	}
	if o.Clock == nil {
		o.Clock = RealClock{}
	}
	if o.Tell == nil {
		o.Tell = func(string) {}
	}
	p := &Publishing{opts: o, store: store{o.State}, stopLimit: stopLimit, client: append([]kgo.Opt{kgo.SeedBrokers(o.Brokers...)}, o.Client...)}
	if o.Rate > 0 {
		p.rate = &rate{perSecond: o.Rate}
	}
	for _, path := range paths {
		p.summary.Files = append(p.summary.Files, &FileSummary{Path: path, Topics: map[string]int64{}})
		info, err := os.Stat(path)
		if path == Stdin || err != nil || !info.Mode().IsRegular() {
			p.size = -1
		} else if p.size >= 0 {
			p.size += info.Size()
		}
	}
	options := []publish.Option{
		publish.WithBrokers(o.Brokers...), publish.WithClientOptions(o.Client...), publish.WithLayout(o.Layout),
		// What is on its way stays there until the brokers answer, or the run ends.
		publish.WithDeliveryTimeout(10 * 365 * 24 * time.Hour),
		// The buffer is bounded here: a record that is refused would lose its place in
		// the order.
		publish.WithFullBuffer(publish.Refuse), publish.WithBufferBytes(2*bufferMax + 4*maxRecordBytes),
		publish.WithMaxRecordBytes(maxRecordBytes),
	}
	if o.NoCreate {
		options = append(options, publish.WithoutTopicCreation())
	}
	var err error
	p.publisher, err = publish.New(append(options, o.Publisher...)...)
	return p, err
}

// Close ends the connections. What still waits for the brokers is given up.
func (p *Publishing) Close() {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = p.publisher.Close(ctx) // the places tell what was published
}

// Run publishes the files until they are done or ctx ends.
func (p *Publishing) Run(ctx context.Context) (*Summary, error) {
	began := p.opts.Clock.Now()
	err := p.run(ctx)
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Cause(ctx))) {
		err = ErrInterrupted
	}
	if p.opts.Loop && errors.Is(err, ErrInterrupted) {
		err = nil // nothing else ends it
	}
	s := &p.summary
	s.Passes, s.Seconds = p.pass.Load(), p.opts.Clock.Now().Sub(began).Seconds()
	s.DryRun = p.opts.DryRun
	s.Good = err == nil
	for _, f := range s.Files {
		s.Published += f.Published
		s.Rejected += f.Rejected + f.RejectedBefore
		if f.State == "" {
			f.State = StateWaits
		}
	}
	s.Good = s.Good && s.Rejected == 0
	return s, err
}

func (p *Publishing) run(ctx context.Context) error {
	if !p.opts.DryRun {
		if err := p.connect(ctx); err != nil {
			return err
		}
	}
	for {
		p.pass.Add(1)
		p.read.Store(0)
		for _, f := range p.summary.Files {
			if err := p.publish(ctx, f); err != nil {
				if f.State == "" {
					f.State = StateFailed
				}
				return err
			}
		}
		if !p.opts.Loop {
			return nil
		}
		if p.published.Load() == 0 {
			return errors.New("--loop: the files hold no good record, so that it would go on without end and publish nothing")
		}
	}
}

// connect waits for the brokers and learns which cluster they are.
func (p *Publishing) connect(ctx context.Context) error {
	client, err := kgo.NewClient(p.client...)
	if err != nil {
		return fmt.Errorf("--brokers: %w", err)
	}
	defer client.Close()
	return p.patiently(ctx, func(ctx context.Context) error {
		meta, err := kadm.NewClient(client).BrokerMetadata(ctx)
		p.cluster = meta.Cluster
		return err
	})
}

// patiently tries again what fails since brokers are away.
func (p *Publishing) patiently(ctx context.Context, try func(context.Context) error) error {
	for {
		bounded, cancel := context.WithTimeout(ctx, 10*time.Second)
		err := try(bounded)
		cancel()
		switch {
		case err == nil:
			p.waiting.Store(nil)
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case forbidden(err):
			return fmt.Errorf("%w: check user, password and the ACLs of the brokers: %w", publish.ErrNotAuthorized, err)
		}
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("they closed the connection: they may want TLS, or not take this user and password: %w", err)
		}
		p.wait(fmt.Errorf("the brokers at %v are not available: %w", p.opts.Brokers, err))
		if err := sleep(ctx, time.Second); err != nil {
			return err
		}
	}
}

// wait tells once for what is waited.
func (p *Publishing) wait(err error) {
	text := "waiting: " + err.Error()
	if was := p.waiting.Swap(&text); was == nil {
		p.opts.Tell(text)
	}
}

func sleep(ctx context.Context, d time.Duration) error { return RealClock{}.Wait(ctx, d) }

// kind is that of a file.
func (p *Publishing) kind(path string) marketdata.Kind {
	if p.opts.Kind != 0 {
		return p.opts.Kind
	}
	k, _ := kindOfFile(path)
	return k
}

// publish publishes one file, from its place on.
func (p *Publishing) publish(ctx context.Context, f *FileSummary) error {
	p.file.Store(&f.Path)
	before := p.read.Load()
	in, err := openInput(ctx, f.Path, p.opts.Stdin, &p.read)
	if err != nil {
		return err
	}
	defer in.Close()
	r := &run{
		Publishing: p, in: in, summary: f, window: newWindow(), lines: newLines(in.reader, maxRecordBytes),
		rejects: &rejects{path: p.opts.Reject}, quiet: p.pass.Load() > 1, kind: p.kind(f.Path), before: before,
	}
	if r.rejects.path == "" {
		r.rejects.path = rejectPath(f.Path)
	}
	if p.opts.Speed > 0 {
		r.tempo = &tempo{speed: p.opts.Speed}
	}
	defer r.rejects.close()
	if err := r.begin(); err != nil {
		return fmt.Errorf("%s: %w", f.Path, err)
	}
	if in.path != "" && !p.opts.Loop && !p.opts.DryRun {
		if r.kept, err = r.resume(ctx); err != nil {
			return err
		}
		defer r.kept.close()
		if f.State == StateBefore {
			p.read.Store(before + in.size)
			p.skipped.Add(in.size)
			return nil
		}
	}
	p.skipped.Add(p.read.Load() - before)
	return r.publish(ctx)
}

// begin finds out the format, and reads the header of a CSV file.
func (r *run) begin() error {
	peeked, err := r.lines.in.Peek(4 << 10)
	if err != nil && len(peeked) == 0 && !errors.Is(err, io.EOF) {
		return r.damaged(err)
	}
	r.format = r.opts.Format
	if r.format == "" {
		if r.format, err = formatOf(r.in.name, peeked); err != nil {
			return err
		}
	}
	if r.format == JSONL {
		if len(r.opts.Columns) > 0 {
			return errors.New("--map: it names columns of CSV, and this file holds JSON lines")
		}
		return nil
	}
	header, err := r.lines.next()
	switch {
	case errors.Is(err, io.EOF):
		return nil // an empty file has no record
	case err != nil:
		return r.damaged(err)
	case header.long:
		return fmt.Errorf("the header is longer than %d bytes; is it CSV?", maxRecordBytes)
	}
	r.rejects.header = append(append([]byte(nil), header.text()...), '\n')
	r.table, err = newTable(withoutMark(header.text()), r.kind, r.opts.Columns)
	if err == nil && len(r.table.unknown) > 0 {
		r.summary.UnknownColumns = r.table.unknown
		if !r.quiet {
			r.opts.Tell(fmt.Sprintf("%s: columns that are no field of a %s go along as they are: %q", r.in.name, r.kind, r.table.unknown))
		}
	}
	return err
}

// resume goes to the place in the file that is kept for it.
func (r *run) resume(ctx context.Context) (*kept, error) {
	k, err := r.store.open(r.in.path, r.cluster, r.opts.Restart)
	if err != nil {
		return nil, err
	}
	now := settings{r.kind.String(), r.opts.Exchange, r.opts.Layout.String(), r.format, r.opts.Columns}
	err = r.resumeAt(ctx, k, now)
	if err != nil {
		k.close()
		return nil, err
	}
	return k, nil
}

func (r *run) resumeAt(ctx context.Context, k *kept, now settings) error {
	identity := func() {
		k.Path, k.Cluster, k.Size, k.Modified = r.in.path, r.cluster, r.in.size, r.in.since
		k.HeadBytes, k.Head = int64(len(r.in.head)), r.in.headHash(headBytes)
	}
	if k.Run == "" {
		identity()
		k.Settings, k.Run, k.Offset, k.Line, k.LastOffset = now, newRun(), r.lines.offset, r.lines.number, r.lines.offset
		k.Since, k.Clean = time.Now(), false
		return k.save()
	}
	if !k.Settings.equal(now) {
		return fmt.Errorf("%s was published, in part or whole, with other options; name the same (%s), or --restart to publish all of it again",
			r.in.name, k.Settings.flags())
	}
	grown, err := k.change(r.in)
	if err != nil {
		return err
	}
	r.summary.Before, r.summary.RejectedBefore = k.Published, k.Rejected
	if k.Finished && !grown {
		r.summary.State = StateBefore
		r.summary.Lines = k.Line
		r.opts.Tell(fmt.Sprintf("%s: already published: %d records, %d lines rejected; --restart publishes it again", r.in.name, k.Published, k.Rejected))
		return nil
	}
	if err := r.skip(&k.place); err != nil {
		return err
	}
	if !k.Clean {
		if err := r.lookFor(ctx, &k.place); err != nil {
			return err
		}
	}
	identity()
	if k.Clean {
		// Should this run be killed, the next one looks for what it has sent.
		k.Clean, k.Since = false, time.Now()
	}
	if k.Cut {
		k.Cut = false
		k.Rejected--
		r.summary.RejectedBefore--
	}
	k.Finished = false
	if err := k.save(); err != nil {
		return err
	}
	r.opts.Tell(fmt.Sprintf("%s: goes on at line %d", r.in.name, k.Line+1))
	return nil
}

// skip reads over what is accounted for.
func (r *run) skip(p *place) error {
	gone := func() error {
		return fmt.Errorf("%w: %s: line %d is not what it was. If it is a new file, give it a new name, or --restart to publish all of it",
			ErrChanged, r.in.name, p.Line)
	}
	if p.Offset > r.lines.offset {
		if r.in.packed == "" {
			if _, err := r.in.file.Seek(p.LastOffset, io.SeekStart); err != nil {
				return fmt.Errorf("reading %s: %w", r.in.name, err)
			}
			r.read.Store(r.before + p.LastOffset)
			r.lines.restart(&counter{r.in.file, &r.read}, p.LastOffset)
		}
		sum, err := r.lines.skipTo(p.LastOffset, p.Offset, p.Line)
		if err != nil {
			return fmt.Errorf("%s: %w", r.in.name, r.damaged(err))
		}
		if p.Last != "" && sum != p.Last {
			return gone()
		}
	}
	if p.Unterminated {
		// Only its newline may have come.
		rest, err := r.lines.next()
		if err == nil && len(rest.text()) > 0 {
			return gone()
		}
		r.lines.number = p.Line
	}
	return nil
}

// lookFor finds what a run that was killed has published.
func (r *run) lookFor(ctx context.Context, p *place) error {
	var unsure error
	// The reading may take longer than one try at something small.
	err := r.patiently(ctx, func(context.Context) (err error) {
		r.found, unsure, err = found(ctx, r.client, r.kind, p, r.wait)
		return err
	})
	if err != nil {
		return err
	}
	if len(r.found) > 0 {
		r.opts.Tell(fmt.Sprintf("%s: %d lines after line %d are in the topics already and are left out", r.in.name, len(r.found), p.Line))
	}
	if unsure != nil {
		r.opts.Tell(fmt.Sprintf("%s: the last run did not end in good order, and what it published after line %d cannot be seen whole: "+
			"at most %d lines are published twice: %v", r.in.name, p.Line, WindowMax, unsure))
	}
	return nil
}

func newRun() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // it gives no error
	return hex.EncodeToString(b)
}
