package files

import (
	"context"
	"time"
)

// Clock tells the time and waits. [RealClock] unless a test has another.
type Clock interface {
	Now() time.Time
	// Wait returns after d, or with ctx's cause when ctx ends.
	Wait(ctx context.Context, d time.Duration) error
}

// RealClock is the machine's.
type RealClock struct{}

// Now implements Clock.
func (RealClock) Now() time.Time { return time.Now() }

// Wait implements Clock.
func (RealClock) Wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// rate lets a number of records through each second.
type rate struct {
	perSecond float64
	begun     time.Time
	n         int64
}

// due is when the next record may go. After a stop that lasted it does not hurry
// to make up for it.
func (r *rate) due(now time.Time) time.Time {
	at := r.begun.Add(time.Duration(float64(r.n) / r.perSecond * float64(time.Second)))
	if r.begun.IsZero() || now.Sub(at) > time.Second {
		r.begun, r.n, at = now, 0, now
	}
	r.n++
	return at
}

// tempo plays records at the distance of their own times, divided by the speed.
type tempo struct {
	speed float64
	first time.Time // of the records
	begun time.Time // when that one was due
}

// due is when a record of that time may go. One that is older than one before it
// was due in the past.
func (t *tempo) due(now, event time.Time) time.Time {
	if t.first.IsZero() {
		t.first, t.begun = event, now
	}
	return t.begun.Add(time.Duration(float64(event.Sub(t.first)) / t.speed))
}
