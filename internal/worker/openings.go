package worker

import (
	"sync"

	"github.com/qicore/tickconnect/connect"
)

// openAnswer is what one lane says of its share of a session's claims.
type openAnswer struct {
	starts map[int32]int64
	err    error
}

// openingBook knows who waits for which opening.
type openingBook struct {
	w  *Worker
	mu sync.Mutex
	to map[*opening]chan<- openAnswer
}

func newOpeningBook(w *Worker) *openingBook {
	return &openingBook{w: w, to: map[*opening]chan<- openAnswer{}}
}

func (b *openingBook) add(o *opening, to chan<- openAnswer) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.to[o] = to
}

// answer makes the inboxes of what was opened, and then tells who waits. It is
// called on the lane's goroutine.
func (b *openingBook) answer(o *opening, l *lane, starts map[int32]int64, err error) {
	b.mu.Lock()
	to := b.to[o]
	delete(b.to, o)
	b.mu.Unlock()
	if v, ok := b.w.sessions.Load(o.sess); ok && err == nil {
		sb := v.(*sessionBoxes)
		sb.mu.Lock()
		for partition := range starts {
			tp := connect.TopicPartition{Topic: o.sess.Topic(), Partition: partition}
			if old := l.boxes[tp]; old != nil {
				old.close()
				b.w.boxClosed()
			}
			box := newInbox(o.sess, tp, l, &b.w.share)
			l.boxes[tp] = box
			sb.boxes[partition] = box
			b.w.boxOpened()
		}
		sb.mu.Unlock()
	} else if err == nil {
		err = errSessionEnded
	}
	if to != nil {
		to <- openAnswer{starts, err}
	}
}
