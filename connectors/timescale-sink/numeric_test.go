package timescalesink

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/marketdata"
)

// TestNumericIsWhatTheServerReads: PostgreSQL makes of the binary form what it
// makes of the digits as text (promise 7).
func TestNumericIsWhatTheServerReads(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	texts := []string{
		"0", "-0", "+0.000", "0e5", "0e-5", "0.000e3", "1", "-1", "+1", ".5", "5.", "-.5", "10000", "100000000", "99999999",
		"0.0001", "0.00001", "0.00000001", "12345.6789", "123456789.000012340000", "1e1000", "-1e-1000", "1.5e3", "1.50e1", "9.2E-7",
		"0001", "000.1000", "12e-3", "123456e-4", "1" + strings.Repeat("0", 131071), strings.Repeat("9", 131072) + "." + strings.Repeat("7", 16383),
		"0." + strings.Repeat("0", 16382) + "1",
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		s := randomDigits(rnd)
		if rnd.IntN(3) == 0 {
			s = "-" + s
		}
		texts = append(texts, s)
	}
	var p params
	p.strings(len(texts), func(i int) string { return texts[i] })
	numbers := array(oids["numeric"].element, len(texts), 0)
	for _, s := range texts {
		d, err := marketdata.ParseDecimal(s)
		if err != nil {
			t.Fatal(err)
		}
		numbers = appendBytesElem(numbers, appendNumeric(nil, d))
	}
	p.add(oids["numeric"].array, numbers)
	result := f.conn.PgConn().ExecParams(f.ctx(), `SELECT s, n::text, s::numeric::text, numeric_send(n) = numeric_send(s::numeric)
		FROM unnest($1::text[], $2::numeric[]) AS x(s, n)`, p.values, p.oids, p.formats, nil)
	read := 0
	for result.NextRow() {
		read++
		v := result.Values()
		if string(v[3]) != "t" {
			t.Errorf("%.100s is read as %.100s, want %.100s", v[0], v[1], v[2])
		}
	}
	if _, err := result.Close(); err != nil || read != len(texts) {
		t.Fatalf("%d of %d numbers read, %v", read, len(texts), err)
	}
}

// TestFitsBinary: the binary form fits a column where the digits do.
func TestFitsBinary(t *testing.T) {
	t.Parallel()
	rnd := rand.New(rand.NewPCG(5, 6))
	for range 20_000 {
		d, err := marketdata.ParseDecimal(randomDigits(rnd))
		if err != nil {
			t.Fatal(err)
		}
		precision := 1 + rnd.IntN(40)
		l := numericLimit{precision, rnd.IntN(precision + 5)}
		if got, want := l.fitsBinary(appendNumeric(nil, d)), l.fits(d); got != want {
			t.Errorf("%s fits numeric(%d,%d): %v, want %v", d, l.precision, l.scale, got, want)
		}
	}
}

func BenchmarkNumeric(b *testing.B) {
	d, err := marketdata.ParseDecimal("28258.07646028")
	if err != nil {
		b.Fatal(err)
	}
	buf := make([]byte, 0, 64)
	for b.Loop() {
		buf = appendNumeric(buf[:0], d)
	}
}
