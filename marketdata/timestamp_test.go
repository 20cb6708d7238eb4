package marketdata

import (
	"testing"
	"time"
)

func TestParseTime(t *testing.T) {
	t.Parallel()
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339Nano, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for in, want := range map[string]string{
		"2026-02-03T04:05:06Z":                "2026-02-03T04:05:06Z",
		"2026-02-03t04:05:06z":                "2026-02-03T04:05:06Z",
		"2026-02-03 04:05:06.5Z":              "2026-02-03T04:05:06.5Z",
		"2026-02-03T04:05:06.123456Z":         "2026-02-03T04:05:06.123456Z",
		"2026-02-03T04:05:06.1234569Z":        "2026-02-03T04:05:06.123456Z", // cut, not rounded
		"2026-02-03T04:05:06.999999999999Z":   "2026-02-03T04:05:06.999999Z",
		"2026-02-03T04:05:06.000000999+05:30": "2026-02-02T22:35:06Z",
		"2026-02-03T04:05:06-23:59":           "2026-02-04T04:04:06Z",
		"2024-02-29T00:00:00Z":                "2024-02-29T00:00:00Z",
		"2016-12-31T23:59:60Z":                "2017-01-01T00:00:00Z",
		"2009-01-01T00:00:00Z":                "2009-01-01T00:00:00Z",
		"1230768000":                          "2009-01-01T00:00:00Z",
		"1230768000000":                       "2009-01-01T00:00:00Z",
		"1230768000000000":                    "2009-01-01T00:00:00Z",
		"1230768000000000000":                 "2009-01-01T00:00:00Z",
		"1770091200":                          "2026-02-03T04:00:00Z",
		"1770091200123":                       "2026-02-03T04:00:00.123Z",
		"1770091200123456":                    "2026-02-03T04:00:00.123456Z",
		"1770091200123456999":                 "2026-02-03T04:00:00.123456Z", // cut
		"001770091200":                        "2026-02-03T04:00:00Z",
	} {
		got, fault := parseTime(in)
		if fault != nil {
			t.Errorf("%s: %v", in, fault)
			continue
		}
		if !got.Equal(at(want)) || got.Location() != time.UTC {
			t.Errorf("%s is %v, want %s", in, got, want)
		}
	}
}

func TestParseTimeRefuses(t *testing.T) {
	t.Parallel()
	for reason, list := range map[string][]string{
		ReasonBadTime: {
			"x", "-", "1626992700.0", "1.6e9", "+1770091200", " 1770091200", "2026-02-03", "2026-02-03T04:05Z", "2026-02-03T04:05:06",
			"2026-02-03T04:05:06,5Z", "2026-02-03T04:05:06.Z", "2026-13-03T04:05:06Z", "2026-00-03T04:05:06Z", "2026-02-30T04:05:06Z",
			"2025-02-29T04:05:06Z", "2100-02-29T04:05:06Z", "2026-04-31T04:05:06Z", "2026-02-00T04:05:06Z", "2026-02-03T24:00:00Z", "2026-02-03T04:60:06Z",
			"2026-02-03T04:05:61Z", "2026-02-03T4:05:06Z", "2026-02-03T04:05:06+0530", "2026-02-03T04:05:06+24:00", "2026-02-03T04:05:06+05:60",
			"2026-02-03T04:05:06ZZ", "2026-02-03_04:05:06Z", "2026/02/03T04:05:06Z", "2026-02-03T04:05:06 +05:30", "2026-02-03T04:05:06+0a:30",
		},
		ReasonOutOfRange: {
			"0", "-1", "-1770091200", "1230767999", "1230767999999", "1230767999999999", "1230767999999999999", "2008-12-31T23:59:59.999999Z",
			"2009-01-01T00:00:00+00:01", "0001-01-01T00:00:00Z", "99999999999999999999",
		},
	} {
		for _, in := range list {
			if got, fault := parseTime(in); fault == nil || fault.Reason != reason {
				t.Errorf("%q: %v, %v, want %s", in, got, fault, reason)
			}
		}
	}
}

// TestTimeUnits shows that no good time can be read in two units: what one unit
// accepts up to the year 2200 begins in no other.
func TestTimeUnits(t *testing.T) {
	t.Parallel()
	for _, at := range []time.Time{timeMin, testNow, time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)} {
		for unit, v := range map[string]int64{
			"s": at.Unix(), "ms": at.UnixMilli(), "us": at.UnixMicro(), "ns": at.UnixNano(),
		} {
			if got := epochMicros(v); got != at.UnixMicro() {
				t.Errorf("%d %s is read as %v", v, unit, time.UnixMicro(got).UTC())
			}
		}
	}
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{
		"2026-02-03T04:05:06.1234567Z", "2026-02-03T04:05:06+05:30", "2024-02-29T23:59:59-12:00", "1770091200123", "2016-12-31T23:59:60Z", "-5", "x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got, fault := parseTime(s)
		if fault != nil || isInteger(s) {
			return
		}
		if got.Nanosecond()%1000 != 0 || got.Location() != time.UTC {
			t.Fatalf("%q gives %v", s, got)
		}
		b := []byte(s)
		b[10] = 'T'
		if b[len(b)-1] == 'z' {
			b[len(b)-1] = 'Z'
		}
		if b[17] == '6' {
			return // time.Parse knows no second 60
		}
		want, err := time.Parse(time.RFC3339Nano, string(b))
		if err != nil {
			t.Fatalf("%q is accepted: %v", s, err)
		}
		if want = want.Truncate(time.Microsecond); !got.Equal(want) {
			t.Fatalf("%q is %v, want %v", s, got, want)
		}
	})
}
