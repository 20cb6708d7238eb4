package connect

import (
	"math"
	"slices"
	"testing"
	"time"
)

// TestCompare: by topic, then by partition as a number.
func TestCompare(t *testing.T) {
	t.Parallel()
	sorted := []TopicPartition{{"", 0}, {"a", 0}, {"a", 2}, {"a", 10}, {"a", math.MaxInt32}, {"a-b", 0}, {"b", 0}}
	for i, a := range sorted {
		for j, b := range sorted {
			got := a.Compare(b)
			if got < 0 != (i < j) || got > 0 != (i > j) {
				t.Errorf("%s against %s gives %d", a, b, got)
			}
		}
	}
	shuffled := slices.Clone(sorted)
	slices.Reverse(shuffled)
	slices.SortFunc(shuffled, TopicPartition.Compare)
	if !slices.Equal(shuffled, sorted) {
		t.Errorf("sorted to %v", shuffled)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	if s := (TopicPartition{"crypto-trades-kraken", 11}).String(); s != "crypto-trades-kraken/11" {
		t.Errorf("a partition prints as %q", s)
	}
	if s := (TopicID{}).String(); s != "" {
		t.Errorf("an unknown topic ID prints as %q", s)
	}
	if s := (TopicID{15: 0xab}).String(); s != "000000000000000000000000000000ab" {
		t.Errorf("a topic ID prints as %q", s)
	}
}

func TestRecordTime(t *testing.T) {
	t.Parallel()
	if got := (&Record{Timestamp: NoTimestamp}).Time(); !got.IsZero() {
		t.Errorf("no timestamp gives %s", got)
	}
	if got := (&Record{}).Time(); !got.Equal(time.Unix(0, 0)) {
		t.Errorf("0 gives %s", got)
	}
	want := time.Date(2023, 11, 14, 22, 13, 20, 123e6, time.UTC)
	if got := (&Record{Timestamp: 1_700_000_000_123}).Time(); !got.Equal(want) || got.Location() != time.UTC {
		t.Errorf("got %s, want %s", got, want)
	}
}
