package ingest

import (
	"crypto/sha256"
	"net/http"
	"sync"
	"time"
)

const (
	// replayAge is how long an answer is kept for its Idempotency-Key.
	replayAge = 10 * time.Minute
	// replaysMax and replayBytesMax bound what is kept: the oldest goes first, also
	// before its time.
	replaysMax     = 20_000
	replayBytesMax = 16 << 20
	// idempotencyKeyMax is the longest key.
	idempotencyKeyMax = 255
)

// replayKey is one client's Idempotency-Key, as a hash.
type replayKey [sha256.Size]byte

// replays keep the final answers to one token's requests with an Idempotency-Key.
// A request is never published twice while its first is remembered.
type replays struct {
	now   func() time.Time
	mu    sync.Mutex
	byKey map[replayKey]*replay
	done  []*replay // in the order in which they were answered
	bytes int
}

type replay struct {
	key    replayKey
	body   [sha256.Size]byte
	answer *reply // nil while the first request is under way
	at     time.Time
}

// size is what a kept answer takes, roughly.
func (r *replay) size() int { return len(r.answer.body) + 400 }

// begin says what to answer a request with, or nil: then it is the first, and
// finish must follow.
func (r *replays) begin(key replayKey, body [sha256.Size]byte) *reply {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forget()
	known := r.byKey[key]
	switch {
	case known == nil:
		if r.byKey == nil {
			r.byKey = map[replayKey]*replay{}
		}
		r.byKey[key] = &replay{key: key, body: body}
		return nil
	case known.body != body:
		return fail(http.StatusUnprocessableEntity, "this Idempotency-Key came with another body before; nothing was published: take a new key for each request")
	case known.answer == nil:
		return fail(http.StatusConflict, "the first request with this Idempotency-Key is still under way; ask again for its answer").retryAfter(1)
	}
	again := &reply{code: known.answer.code, header: known.answer.header.Clone(), body: known.answer.body}
	again.header.Set("Idempotent-Replayed", "true")
	return again
}

// finish keeps the answer. nil forgets the key: whoever asks again is served
// anew.
func (r *replays) finish(key replayKey, answer *reply) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if answer == nil {
		delete(r.byKey, key)
		return
	}
	known := r.byKey[key]
	known.answer, known.at = answer, r.now()
	r.done = append(r.done, known)
	r.bytes += known.size()
	r.forget()
}

// forget drops answers that are too old or too many.
func (r *replays) forget() {
	n := 0
	for _, old := range r.done {
		if r.now().Sub(old.at) < replayAge && len(r.done)-n <= replaysMax && r.bytes <= replayBytesMax {
			break
		}
		delete(r.byKey, old.key)
		r.bytes -= old.size()
		r.done[n] = nil
		n++
	}
	r.done = r.done[n:]
}
