package connect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
)

// TestRetriable: the mark is found through wrapping, and hides nothing.
func TestRetriable(t *testing.T) {
	t.Parallel()
	if Retriable(nil) != nil {
		t.Error("Retriable(nil) is an error")
	}
	if IsRetriable(nil) || IsRetriable(errors.New("down")) || IsRetriable(context.Canceled) {
		t.Error("an error without the mark is Retriable")
	}
	err := fmt.Errorf("storing: %w", Retriable(fmt.Errorf("dialling: %w", context.DeadlineExceeded)))
	if !IsRetriable(err) || !IsRetriable(errors.Join(errors.New("other"), err)) {
		t.Error("the mark is lost in wrapping")
	}
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Error("the mark hides the error")
	}
	if got := Retriable(errors.New("down")).Error(); got != "down" {
		t.Errorf("the mark changes the message to %q", got)
	}
}

// TestErrorKinds: each kind is found through wrapping, is no other kind, and
// names what it is about.
func TestErrorKinds(t *testing.T) {
	t.Parallel()
	tp := TopicPartition{"orders", 3}
	for name, test := range map[string]struct {
		err                  error
		bad, fenced, refused bool
		says                 []string
	}{
		"bad data": {
			err: &BadDataError{Record: RecordError{Message: "too wide"}, At: tp, Offset: 9},
			bad: true, says: []string{"orders/3@9", "too wide"},
		},
		"bad data somewhere": {
			err: &BadDataError{Record: RecordError{Message: "too wide"}, Offset: -1},
			bad: true, says: []string{"too wide"},
		},
		"moved": {
			err:    &FencedError{Moved: []TopicPartition{tp}},
			fenced: true, says: []string{"fenced", "moved", "orders/3"},
		},
		"busy": {
			err:    &FencedError{Busy: []TopicPartition{tp}},
			fenced: true, says: []string{"fenced", "another transaction", "orders/3"},
		},
		"refused": {
			err:     &RefusedError{At: tp, Reason: "the log ends at 5", Advice: "reset it"},
			refused: true, says: []string{"orders/3", "the log ends at 5", "reset it"},
		},
	} {
		err := fmt.Errorf("storing: %w", test.err)
		var b *BadDataError
		var f *FencedError
		var r *RefusedError
		if errors.As(err, &b) != test.bad || errors.As(err, &f) != test.fenced || errors.As(err, &r) != test.refused || IsRetriable(err) {
			t.Errorf("%s: bad %t, fenced %t, refused %t, retriable %t", name, b != nil, f != nil, r != nil, IsRetriable(err))
		}
		if !errors.Is(err, test.err) {
			t.Errorf("%s: the error is lost in wrapping", name)
		}
		for _, s := range test.says {
			if !strings.Contains(err.Error(), s) {
				t.Errorf("%s: %q does not say %q", name, err, s)
			}
		}
	}
	if s := (&BadDataError{Offset: -1, Record: RecordError{Message: "m"}}).Error(); s != "m" {
		t.Errorf("an unknown place is printed: %q", s)
	}
}
