package marketdata

import (
	"encoding/json"
	"testing"
	"time"
)

// TestDecodeGivesTheKindsRow: a row says of which kind and of what it is, and what
// cannot be read has nothing of the record before.
func TestDecodeGivesTheKindsRow(t *testing.T) {
	t.Parallel()
	var d Decoder
	for _, kind := range Kinds() {
		value := []byte(goodRecords[kind])
		row, err := d.Decode(kind, value, testNow)
		if err != nil || row.Kind() != kind {
			t.Fatalf("%v: %v, %v", kind, row, err)
		}
		var members struct{ ExchangeID, Symbol, Source string }
		if err := json.Unmarshal(value, &members); err != nil {
			t.Fatal(err)
		}
		want := Identity{Exchange: members.ExchangeID, Symbol: members.Symbol, Source: members.Source, Time: row.Identity().Time}
		if got := row.Identity(); got != want || got.Time.Before(testNow.Add(-24*time.Hour)) {
			t.Errorf("%v: %+v, want %+v", kind, got, want)
		}
		if got, err := d.Identify(kind, value, testNow); err != nil || got != want {
			t.Errorf("%v: %+v, %v", kind, got, err)
		}
		if got, err := d.Identify(kind, []byte(`{"exchangeId`), testNow); err == nil || got != (Identity{}) {
			t.Errorf("%v: what is cut off is of %+v, %v", kind, got, err)
		}
	}
	if row, err := d.Decode(0, []byte(`{}`), testNow); row != nil || err == nil {
		t.Errorf("no kind: %v, %v", row, err)
	}
	if id, err := d.Identify(0, []byte(`{}`), testNow); id != (Identity{}) || err == nil {
		t.Errorf("no kind: %v, %v", id, err)
	}
}
