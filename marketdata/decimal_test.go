package marketdata

import (
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
)

func TestParseDecimal(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("9", 131072)
	for _, tt := range []struct {
		text           string
		sign           int
		integer, scale int
	}{
		{"0", 0, 0, 0},
		{"-0", 0, 0, 0},
		{"0.00", 0, 0, 2},
		{"0E-8", 0, 0, 8},
		{"0e1000", 0, 0, 0},
		{"1", 1, 1, 0},
		{"+1", 1, 1, 0},
		{"-1.50", -1, 1, 2},
		{"007", 1, 1, 0},
		{".5", 1, 0, 1},
		{"5.", 1, 1, 0},
		{"1E-7", 1, 0, 7},
		{"9.2E-7", 1, 0, 8},
		{"1.5e3", 1, 4, 0},
		{"1.50e1", 1, 2, 1},
		{"0.001e2", 1, 0, 1},
		{"0.001e3", 1, 1, 0},
		{"1e+1000", 1, 1001, 0},
		{"1e-1000", 1, 0, 1000},
		{"1e0001", 1, 2, 0},
		{"1234567890123456789012345678901234567890", 1, 40, 0},
		{"0.1234567890123456789012345678901234567", 1, 0, 37},
		{long, 1, 131072, 0},
		{"0." + long[:16383], 1, 0, 16383},
		{long + "." + long[:16383], 1, 131072, 16383},
	} {
		d, err := ParseDecimal(tt.text)
		if err != nil {
			t.Errorf("%s: %v", clip(tt.text), err)
			continue
		}
		integer, scale := d.Digits()
		if d.Sign() != tt.sign || integer != tt.integer || scale != tt.scale {
			t.Errorf("%s: sign %d, digits %d and %d", clip(tt.text), d.Sign(), integer, scale)
		}
		if !d.Present() || d.String() != tt.text || string(d.Append(nil)) != tt.text || d.Clone() != d {
			t.Errorf("%s: the text is not kept: %s", clip(tt.text), clip(d.String()))
		}
	}
}

func TestParseDecimalRefuses(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("9", 131073)
	for _, text := range []string{
		"", " ", " 1", "1 ", "1\n", "NaN", "nan", "Inf", "-Infinity", "0x10", "1_000", "1,5", "1e", "1e+", "e5", ".", "-", "+", "-.", ".e1",
		"1.2.3", "--1", "1-", "1e5.0", "1e 5", "１", "1\x00", "1/2", "1p4",
	} {
		if _, err := ParseDecimal(text); !errors.Is(err, ErrNotDecimal) {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{
		"1e1001", "1e-1001", "0e1001", "1e99999999999999999999", long, "-" + long, "0." + long[:16384], long[:130100] + "e1000",
		"0." + long[:15400] + "e-1000", strings.Repeat("0", 200_000),
	} {
		d, err := ParseDecimal(text)
		if !errors.Is(err, ErrDecimalRange) || d.Present() {
			t.Errorf("%s: %v", clip(text), err)
		}
		if err != nil && len(err.Error()) > 400 {
			t.Errorf("%s: the message has %d bytes", clip(text), len(err.Error()))
		}
	}
}

func TestDecimalCmp(t *testing.T) {
	t.Parallel()
	// Each list is one number, the lists ascend.
	ordered := [][]string{
		{"-1e1000", "-10e999"},
		{"-2", "-2.0"},
		{"-1.0000000000000000000000000000000000001"},
		{"-1"},
		{"-1e-1000"},
		{"0", "-0", "0.000", "0e5", ""},
		{"1e-1000", "0.1e-999"},
		{"0.1", ".1", "0.10", "1e-1", "100e-3", "00.1"},
		{"0.30"},
		{"0.30000000000000000001"},
		{"9007199254740992"},
		{"9007199254740993", "9.007199254740993e15"},
		{"10000000000000000000000000000000000000000", "1e40"},
	}
	for i, a := range ordered {
		for j, b := range ordered {
			want := 0
			if i < j {
				want = -1
			} else if i > j {
				want = 1
			}
			for _, x := range a {
				for _, y := range b {
					var dx, dy Decimal
					if x != "" {
						dx = dec(t, x)
					}
					if y != "" {
						dy = dec(t, y)
					}
					if got := dx.Cmp(dy); got != want {
						t.Errorf("%q against %q: %d, want %d", x, y, got, want)
					}
				}
			}
		}
	}
}

func TestDecimalJSON(t *testing.T) {
	t.Parallel()
	var v struct {
		A, B, C, D, E Decimal
	}
	in := `{"A":0.10,"B":"1.50","C":null,"D":"","E":"\u0031\u0030"}`
	if err := json.Unmarshal([]byte(in), &v); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"A":"0.10","B":"1.50","C":null,"D":null,"E":"10"}`; string(got) != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for _, bad := range []string{`"NaN"`, `true`, `{}`, `" 1"`, `1e1001`, `"\ud800"`} {
		d := dec(t, "7")
		if err := json.Unmarshal([]byte(bad), &d); err == nil {
			t.Errorf("%s is accepted as %s", bad, d)
		} else if d.String() != "7" {
			t.Errorf("%s changed the number to %s", bad, d)
		}
	}
}

func TestDecimalNumberForm(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"+1.50": "1.50", ".5": "0.5", "5.": "5", "-007.10": "-7.10", "9.2E-7": "9.2e-7", "0": "0", "1E+3": "1e3", "-0.0": "-0.0",
	} {
		if got := string(dec(t, in).appendNumber(nil)); got != want {
			t.Errorf("%s as a JSON number is %s, want %s", in, got, want)
		}
	}
}

// plainForm writes a number without an exponent, by its text alone.
func plainForm(s string) (integer, frac string) {
	mantissa, exp, _ := strings.Cut(strings.ToLower(strings.TrimLeft(s, "+-")), "e")
	whole, frac, _ := strings.Cut(mantissa, ".")
	e := new(big.Int)
	if exp != "" {
		e.SetString(exp, 10)
	}
	n := int(e.Int64())
	for ; n > 0; n-- {
		if frac == "" {
			frac = "0"
		}
		whole, frac = whole+frac[:1], frac[1:]
	}
	for ; n < 0; n++ {
		if whole == "" {
			whole = "0"
		}
		whole, frac = whole[:len(whole)-1], whole[len(whole)-1:]+frac
	}
	return strings.TrimLeft(whole, "0"), frac
}

func FuzzDecimal(f *testing.F) {
	for _, s := range []string{
		"0", "-0.0", "1.50", ".5", "5.", "9.2E-7", "1e1000", "1e-1000", "1e1001", "NaN", "-Inf", "0x1p4", "1_0", "", "+", "1.2.3",
		"123456789012345678901234567890.12345678901234567890", "100e-3", "00.1", "1/3",
	} {
		f.Add(s, "1")
		f.Add("0.30000000000000000001", s)
	}
	f.Fuzz(func(t *testing.T, x, y string) {
		a, err := ParseDecimal(x)
		if err != nil {
			if a.Present() {
				t.Fatalf("%q gives an error and a number", x)
			}
			return
		}
		ra, ok := new(big.Rat).SetString(x)
		if !ok {
			t.Fatalf("%q is accepted, math/big refuses it", x)
		}
		if got, want := a.Sign(), ra.Sign(); got != want {
			t.Fatalf("%q has sign %d, want %d", x, got, want)
		}
		whole, frac := plainForm(x)
		if integer, scale := a.Digits(); integer != len(whole) || scale != len(frac) {
			t.Fatalf("%q has %d and %d digits, want %d and %d", x, integer, scale, len(whole), len(frac))
		}
		number := a.appendNumber(nil)
		if !json.Valid(number) {
			t.Fatalf("%q gives %s, which is not JSON", x, number)
		}
		if rn, ok := new(big.Rat).SetString(string(number)); !ok || rn.Cmp(ra) != 0 {
			t.Fatalf("%q becomes %s", x, number)
		}
		text, err := json.Marshal(a)
		if err != nil {
			t.Fatal(err)
		}
		var back Decimal
		if err := json.Unmarshal(text, &back); err != nil || back != a {
			t.Fatalf("%q comes back as %q, %v", x, back, err)
		}
		b, err := ParseDecimal(y)
		if err != nil {
			return
		}
		rb, ok := new(big.Rat).SetString(y)
		if !ok {
			t.Fatalf("%q is accepted, math/big refuses it", y)
		}
		if got, want := a.Cmp(b), ra.Cmp(rb); got != want {
			t.Fatalf("%q against %q: %d, want %d", x, y, got, want)
		}
		if a.Cmp(b) != -b.Cmp(a) {
			t.Fatalf("%q and %q do not compare alike both ways", x, y)
		}
	})
}
