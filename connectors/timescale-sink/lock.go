package timescalesink

import "context"

// gate is a mutex whose wait ends with a context: who holds it may be waiting
// for the database. make it with newGate.
type gate chan struct{}

func newGate() gate { return make(gate, 1) }

func (g gate) lock(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (g gate) unlock() { <-g }
