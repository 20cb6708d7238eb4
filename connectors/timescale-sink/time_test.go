package timescalesink

import (
	"testing"
	"time"
)

// TestAppendTime: the digits are those of the layout, cut to the microsecond.
func TestAppendTime(t *testing.T) {
	t.Parallel()
	zone := time.FixedZone("", -5*3600)
	for _, in := range []time.Time{
		time.Unix(0, 0),
		time.Date(2009, 1, 3, 18, 15, 5, 999_999_999, time.UTC),
		time.Date(2024, 2, 29, 23, 59, 59, 1_000, zone),
		time.Date(9999, 12, 31, 23, 59, 59, 123_456_000, time.UTC),
		time.Date(12000, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		want := in.UTC().Truncate(time.Microsecond).Format(timeFormat)
		if got := string(appendTime(nil, in)); got != want {
			t.Errorf("%v is written %s, want %s", in, got, want)
		}
	}
}

func BenchmarkAppendTime(b *testing.B) {
	in := time.Date(2024, 2, 29, 23, 59, 59, 123_456_000, time.UTC)
	buf := make([]byte, 0, 64)
	b.Run("digits", func(b *testing.B) {
		for b.Loop() {
			buf = appendTime(buf[:0], in)
		}
	})
	b.Run("layout", func(b *testing.B) {
		for b.Loop() {
			buf = in.UTC().AppendFormat(buf[:0], timeFormat)
		}
	})
}
