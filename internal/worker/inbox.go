package worker

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// inbox is where the source leaves the records of one partition, for one
// session, until the partition's lane takes them. It holds the partition back
// once its share of the connector's memory is used up (promise 8).
type inbox struct {
	connect.TopicPartition
	sess  connect.Session
	lane  *lane
	share *atomic.Int64 // bytes that each partition may hold

	// Only the source's goroutine uses these: rows are made in slabs, and the record
	// on its way lies here, since one of its own for each call would be an allocation.
	slab     []byte
	arriving connect.Record

	mu         sync.Mutex
	pending    []connect.Record
	spare      []connect.Record
	waiting    int64 // bytes of pending
	held       int64 // bytes of what the task holds
	queued     bool  // the lane knows of it
	paused     bool
	unprepared bool // the record on its way waits for what it needs
	closed     bool
	room       chan struct{}
}

func newInbox(sess connect.Session, tp connect.TopicPartition, l *lane, share *atomic.Int64) *inbox {
	return &inbox{TopicPartition: tp, sess: sess, lane: l, share: share, room: make(chan struct{}, 1)}
}

// deliver takes a record, or waits for room. It returns false once the session
// has ended or the partition was given up, and then always.
func (b *inbox) deliver(r connect.Record) bool {
	done := b.sess.Context().Done()
	// The end of a session is sticky: a select with both channels ready would
	// choose at random, drop record N and take N+1.
	if b.sess.Context().Err() != nil {
		return false
	}
	b.arriving = r
	var away error
	b.slab, away = b.lane.w.prepare(b.slab, b.TopicPartition, &b.arriving, false)
	if away != nil && !b.waitPrepared(away) {
		return false
	}
	size := b.arriving.SizeBytes()
	b.mu.Lock()
	if !b.closed && b.isFull(size) {
		b.waitForRoom(size, done)
	}
	if b.closed {
		b.mu.Unlock()
		return false
	}
	b.pending = append(b.pending, b.arriving)
	b.arriving = connect.Record{}
	b.waiting += size
	tell := !b.queued
	b.queued = true
	b.mu.Unlock()
	if tell {
		b.lane.arrived(b)
	}
	return true
}

// waitPrepared holds the partition until the record on its way is prepared or the
// session has ended. After pauseAfter fetching is paused meanwhile.
func (b *inbox) waitPrepared(away error) (ok bool) {
	b.setUnprepared(true)
	long := time.AfterFunc(pauseAfter, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.unprepared {
			b.pause()
		}
	})
	defer long.Stop()
	b.slab, ok = b.lane.waitPrepared(b.sess, b.slab, b.TopicPartition, &b.arriving, false, away)
	b.setUnprepared(false)
	if !ok {
		b.close()
	}
	return ok
}

func (b *inbox) setUnprepared(on bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unprepared = on
	b.resume()
}

func (b *inbox) isFull(size int64) bool {
	return b.waiting+b.held > 0 && b.waiting+b.held+size > b.share.Load()
}

// pauseAfter is how long a partition waits for room before its fetching is
// paused. In a backlog room comes with each Put, many times a second, and a
// source may take longer than that to resume.
const pauseAfter = 500 * time.Millisecond

// waitForRoom waits, with b.mu held on both ends, until the record fits or the
// session has ended.
func (b *inbox) waitForRoom(size int64, done <-chan struct{}) {
	long := time.NewTimer(pauseAfter)
	defer long.Stop()
	for !b.closed && b.isFull(size) {
		b.mu.Unlock()
		select {
		case <-b.room:
		case <-done:
			b.close()
		case <-long.C:
			b.mu.Lock()
			b.pause()
			b.mu.Unlock()
		}
		b.mu.Lock()
	}
}

// pause has the source fetch no more; b.mu is held.
func (b *inbox) pause() {
	if !b.paused {
		b.paused = true
		b.sess.Pause(b.Partition)
	}
}

// take gives the lane what has arrived. The slice is valid until the next take.
func (b *inbox) take() []connect.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.pending
	b.pending, b.spare = b.spare[:0], out
	b.held += b.waiting
	b.waiting, b.queued = 0, false
	return out
}

// setHeld tells how much the task holds, and lets the source go on once there
// is room again.
func (b *inbox) setHeld(bytes int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.held = bytes
	b.resume()
	select {
	case b.room <- struct{}{}:
	default:
	}
}

// resume lets the source go on where there is room; b.mu is held.
func (b *inbox) resume() {
	if used := b.held + b.waiting; b.paused && !b.unprepared && used <= b.share.Load()/4 {
		b.paused = false
		b.sess.Resume(b.Partition)
	}
}

// close makes deliver return false from now on.
func (b *inbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	clear(b.pending)
	b.pending, b.waiting = b.pending[:0], 0
	select {
	case b.room <- struct{}{}:
	default:
	}
}
