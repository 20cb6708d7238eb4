package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// fieldOf finds a field of any producer.
func fieldOf(t *testing.T, fields []*numericField, name string) *numericField {
	t.Helper()
	i := slices.IndexFunc(fields, func(f *numericField) bool { return f.Field == name })
	if i < 0 {
		var names []string
		for _, f := range fields {
			names = append(names, f.Field)
		}
		t.Fatalf("there is no field %s, only %q", name, names)
	}
	return fields[i]
}

// TestReadDigits: what a text says of how its number was made, and what is no
// number.
func TestReadDigits(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]digits{
		"0":                   {whole: true, endsIn0: true},
		"80":                  {significant: 1, whole: true, endsIn0: true},
		"1700000000000000000": {significant: 2, whole: true, endsIn0: true},
		"9007199254740993":    {significant: 16, whole: true},
		"80.0":                {significant: 1, places: 1, endsIn0: true},
		"-60000.10":           {significant: 6, places: 2, endsIn0: true},
		"0.00001200":          {significant: 2, places: 8, endsIn0: true},
		"0.30000000000000004": {significant: 17, places: 17},
		"9.2e-07":             {significant: 2, places: 1, exponent: true},
		"5E+3":                {significant: 1, exponent: true},
		"+007.5":              {significant: 2, places: 1},
		"100200.0":            {significant: 4, places: 1, endsIn0: true},
	} {
		if got, ok := readDigits(text); !ok || got != want {
			t.Errorf("%s: %+v, %v, want %+v", text, got, ok, want)
		}
	}
	for _, text := range []string{"", "-", ".", "1.", ".5", "1e", "1e+", "1.e5", "e5", "1.2.3", "1e5x", "NaN", "0x10", "1 ", "BTC-USD", "1m", "1,5"} {
		if got, ok := readDigits(text); ok {
			t.Errorf("%q is taken for a number: %+v", text, got)
		}
	}
}

// TestHonestyPaths: fields are told apart by their path in objects and arrays,
// prices that are names are numbers too, and whose the numbers are is found as
// far as a record tells.
func TestHonestyPaths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, topic, value string
		producer, exchange string
		want               string // fields with how many numbers and texts they have
	}{
		{"native", "crypto-trades-kraken", `{"exchangeId":"KRAKEN","symbol":"1INCH","price":"1.5","size":2}`, "native", "kraken", "price 0+1, size 1+0"},
		{"the topic tells the exchange", "crypto-trades-kraken", `{"price":1.5}`, "native", "kraken", "price 1+0"},
		{"a source", "crypto-prices", `{"exchange_id":"OKX","source":"coingecko","usd_price":1.5}`, "coingecko", "okx", "usd_price 1+0"},
		{"cryptofeed", "trades-OKX-A-B", `{"exchange":"OKX","amount":80.0,"id":"17","receipt_timestamp":1.25}`, "cryptofeed", "okx", "amount 1+0, id 0+1, receipt_timestamp 1+0"},
		{
			"cryptofeed's book", "book-OKX-A-B", `{"exchange":"OKX","book":{"bid":{"0.10":5.5,"0.2":"7"},"ask":{}},"delta":{"bid":[[0.1,2],[0.3,"4"]]},"receipt_timestamp":1.25}`,
			"cryptofeed", "okx", "book.bid.(names) 0+2, book.bid.* 1+1, delta.bid[][0] 2+0, delta.bid[][1] 1+1, receipt_timestamp 1+0",
		},
		{"nested", "raw", `{"stream":"x","data":{"p":"1.5","l":[{"q":1.5},{"q":2.5}],"n":null,"b":true}}`, "", "", "data.l[].q 2+0, data.p 0+1"},
		{"an array is the record", "raw", `[1700000000000,"1.5",[["2.5",3.5]]]`, "", "", "[0] 1+0, [1] 0+1, [][][0] 0+1, [][][1] 1+0"},
		{"a list", "raw", `{"prices":[1.5,2.5,3.5]}`, "", "", "prices[] 3+0"},
		{"a number alone", "raw", `1.5`, "", "", " 1+0"},
		{"escaped names", "raw", "{\"pr\\u0069ce\":1.5}", "", "", "price 1+0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := newNumbersSeen()
			if err := s.add(&kgo.Record{Topic: tt.topic, Value: []byte(tt.value)}); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, f := range s.list() {
				got = append(got, fmt.Sprintf("%s %d+%d", f.Field, f.Numbers.Values, f.Strings.Values))
				if f.Producer != tt.producer || f.Exchange != tt.exchange {
					t.Errorf("%s is of %q, %q", f.Field, f.Producer, f.Exchange)
				}
			}
			if text := strings.Join(got, ", "); text != tt.want {
				t.Errorf("found %s\nwant  %s", text, tt.want)
			}
		})
	}
}

// TestHonestyZeros: missing zeros are said of enough different numbers only, and
// one that is there refutes it.
func TestHonestyZeros(t *testing.T) {
	t.Parallel()
	price := func(n int, number func(i int) string) *numericField {
		s := newNumbersSeen()
		for i := range n {
			if err := s.add(&kgo.Record{Topic: "t", Offset: int64(i), Value: fmt.Appendf(nil, `{"price":%s}`, number(i))}); err != nil {
				t.Fatal(err)
			}
		}
		return fieldOf(t, s.list(), "price")
	}
	// cents are those of a producer that drops zeros, as a float does.
	cents := func(i int) string { return strings.TrimSuffix(fmt.Sprintf("60000.%02d", 10+i), "0") }
	for _, tt := range []struct {
		name   string
		n      int
		number func(i int) string
		want   zerosFinding
		places int
	}{
		{"zeros are there", 80, func(i int) string { return fmt.Sprintf("60000.%02d", 10+i) }, zerosKept, 80},
		{"zeros are dropped", 80, cents, zerosMissing, 72},
		{"too few", 73, cents, zerosUnknown, 65},
		{"enough", 74, cents, zerosMissing, 66},
		{"equal ones", 5000, func(i int) string { return cents(i % 70) }, zerosUnknown, 4500},
		{"one place", 5000, func(i int) string { return fmt.Sprintf("%d.%d", i, 1+i%9) }, zerosUnknown, 0},
		{"whole floats", 5000, func(i int) string { return fmt.Sprintf("%d.0", i) }, zerosUnknown, 0},
		{"whole", 5000, func(i int) string { return fmt.Sprint(i) }, zerosUnknown, 0},
		{"exponents", 5000, func(i int) string { return fmt.Sprintf("1.%03d1e-7", i) }, zerosUnknown, 0},
		{"texts", 80, func(i int) string { return `"` + cents(i) + `"` }, zerosMissing, 72},
	} {
		f := price(tt.n, tt.number)
		d := f.Numbers
		if f.Strings.Values > 0 {
			d = f.Strings
		}
		if d.Zeros != tt.want || d.Places != tt.places || d.Values != tt.n {
			t.Errorf("%s: %+v, want %s of %d", tt.name, d, tt.want, tt.places)
		}
	}
}

// TestHonestyIsBounded: names that are data end at a bound, and are counted.
func TestHonestyIsBounded(t *testing.T) {
	t.Parallel()
	s := newNumbersSeen()
	for i := range fieldsMax + 10 {
		if err := s.add(&kgo.Record{Topic: "t", Value: fmt.Appendf(nil, `{"exchange":"e%d","f%d":1.5}`, i%3, i)}); err != nil {
			t.Fatal(err)
		}
	}
	long := `{"` + strings.Repeat("n", 100_000) + `":1.5}`
	if err := s.add(&kgo.Record{Topic: "t", Value: []byte(long)}); err != nil {
		t.Fatal(err)
	}
	if n := len(s.list()); n != fieldsMax || s.left != 11 {
		t.Errorf("%d fields, %d values are left out", n, s.left)
	}
	s = newNumbersSeen()
	if err := s.add(&kgo.Record{Topic: "t", Value: []byte(long)}); err != nil || len(s.list()[0].Field) != textMax {
		t.Errorf("%v, %+v", err, s.list())
	}
}

// TestTopicsHonesty reports what is in the topics, by producer, exchange and
// field, with where it is; a bounded part of each partition, or all.
func TestTopicsHonesty(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		trades, levels := f.topic(marketdata.KindTrade), f.topic(marketdata.KindLevel1)
		f.create(trades, 3, nil)
		f.create(levels, 1, nil)
		at := func(topic string, partition int32, value string) *kgo.Record {
			r := &kgo.Record{Topic: topic, Partition: partition}
			if value != "" {
				r.Value = []byte(value)
			}
			return r
		}
		var records []*kgo.Record
		for i := range 1100 { // more than are read of a partition where no flag says so
			records = append(records, at(trades, 0, fmt.Sprintf(`{"exchangeId":"a","source":"floats","price":%d.25,"size":"0.50","time":1700000000.1234567}`, i)))
		}
		records = append(records,
			at(trades, 1, `{"exchangeId":"a","source":"floats","price":0.30000000000000004,"size":"1.00"}`),
			at(trades, 1, `{"exchangeId":"B","source":"floats","price":9.2e-7}`),
			at(trades, 1, "{"),
			at(trades, 1, ""),
			at(levels, 0, `{"exchangeId":"a","bidPrice":"60000.10","askPrice":1234567890.12345,"askSize":1234567890.123456}`))
		f.produce(f.client, records...)

		var r numbersReport
		code := f.answer(&r, "honesty", trades, levels)
		if code != 0 || !r.Complete || len(r.Topics) != 2 || r.Topics[0].Records != 1004 || r.Topics[0].Tombstones != 1 || r.Topics[0].NotJSON != 1 ||
			!strings.HasPrefix(r.Topics[0].Example, "1/2: ") || r.Topics[1].Records != 1 {
			f.Fatalf("exit code %d, %+v", code, r)
		}
		price := fieldOf(f.T, r.Fields, "price")
		if price.Producer != "floats" || price.Exchange != "a" || price.Values != 1001 || price.Numbers.Values != 1001 || price.Numbers.Long != 1 ||
			price.Numbers.Binary != 1 || price.Numbers.Zeros != zerosMissing || price.Strings.Values != 0 {
			f.Errorf("price: %+v", price)
		}
		want := numericSample{As: asNumber, What: "over_15_digits", Topic: trades, Partition: 1, Offset: 0, Text: "0.30000000000000004"}
		if !slices.Contains(price.Samples, want) {
			f.Errorf("samples of price: %+v", price.Samples)
		}
		if size := fieldOf(f.T, r.Fields, "size"); size.Strings.Values != 1001 || size.Numbers.Values != 0 || size.Strings.Zeros != zerosKept {
			f.Errorf("size: %+v", size)
		}
		if at := fieldOf(f.T, r.Fields, "time"); !at.Time || at.Numbers.Long != 1000 || at.Numbers.Binary != 0 {
			f.Errorf("time: %+v", at)
		}
		i := slices.IndexFunc(r.Fields, func(f *numericField) bool { return f.Field == "price" && f.Exchange == "b" })
		if i < 0 || r.Fields[i].Numbers.Exponents != 1 {
			f.Errorf("of another exchange: %+v", r.Fields)
		}
		if bid := fieldOf(f.T, r.Fields, "bidPrice"); bid.Producer != "native" || bid.Samples[0].Topic != levels {
			f.Errorf("of another topic: %+v", bid)
		}

		if ask, size := fieldOf(f.T, r.Fields, "askPrice"), fieldOf(f.T, r.Fields, "askSize"); ask.Numbers.Long != 0 || size.Numbers.Long != 1 {
			f.Errorf("15 digits: %+v, 16: %+v", ask, size)
		}

		code, out, errOut := f.run("honesty", trades)
		for _, want := range []string{
			"1,004 records of 1 topic read\n", "1 of 1,004 records no JSON, such as 1/2: ", trades + "/1/0: 0.30000000000000004", "missing: 0 of 1,001", "kept: 1,001 of 1,001",
			"1 field of times and of whole numbers not shown", "2 fields with decimals as JSON numbers", "in 1 the digits are those of a float", "numeric_type=str",
		} {
			if code != 0 || !strings.Contains(out, want) {
				f.Errorf("exit code %d, without %q: %s%s", code, want, out, errOut)
			}
		}

		r = numbersReport{}
		if code = f.answer(&r, "honesty", trades, "--sample", "2"); code != 0 || r.Topics[0].Records != 4 || r.Topics[0].NotJSON != 1 {
			f.Errorf("two of each partition: exit code %d, %+v", code, r.Topics)
		}
		r = numbersReport{}
		if code = f.answer(&r, "honesty", trades, "--all"); code != 0 || r.Topics[0].Records != 1104 {
			f.Errorf("all: exit code %d, %+v", code, r.Topics)
		}
		for _, tt := range []struct{ args, want string }{
			{trades + "x", "did you mean " + trades},
			{trades + " --sample 0", "--sample: 0 is outside 1..1000000; --all reads everything"},
			{trades + " --sample 5 --all", "[all sample]"},
		} {
			code, out, errOut := f.run(append([]string{"honesty"}, strings.Fields(tt.args)...)...)
			if code != 1 || out != "" || !strings.Contains(errOut, tt.want) {
				f.Errorf("%s: exit code %d, %s%s", tt.args, code, out, errOut)
			}
		}
	})
}

// TestTopicsHonestyOfAll topics, whatever their names, but those that begin with
// an underscore; that not all could be told apart is no success.
func TestTopicsHonestyOfAll(t *testing.T) {
	t.Parallel()
	f := newTopicsFixture(t, testenv.Broker(t))
	for _, topic := range []string{"trades-OKX-A-B", "_schemas"} {
		f.create(topic, 1, nil)
		f.produce(f.client, &kgo.Record{Topic: topic, Value: []byte(`{"exchange":"OKX","amount":80.5,"receipt_timestamp":1.5}`)})
	}
	var r numbersReport
	if code := f.answer(&r, "honesty"); code != 0 || len(r.Topics) != 1 || r.Topics[0].Topic != "trades-OKX-A-B" || fieldOf(t, r.Fields, "amount").Producer != "cryptofeed" {
		t.Errorf("exit code %d, %+v", code, r)
	}
	var b strings.Builder
	for i := range fieldsMax + 1 {
		fmt.Fprintf(&b, `,"f%d":1.5`, i)
	}
	f.produce(f.client, &kgo.Record{Topic: "trades-OKX-A-B", Value: []byte("{" + b.String()[1:] + "}")})
	code, out, errOut := f.run("honesty")
	if code != 1 || !strings.Contains(out, "left out: there are more than 5,000 fields") {
		t.Errorf("exit code %d, %.300s%s", code, out, errOut)
	}
}

// TestHonestyOfRecordings: cryptofeed sent the same frames with each
// numeric_type. The report tells the settings apart where the exchange sends
// zeros, and does not claim to where it sends none.
func TestHonestyOfRecordings(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		capture, field string
		zeros          map[string]zerosFinding
		exponents      map[string]int
	}{
		{"BITGET.2022-04-06.cryptofeed-2.4.1", "ask", map[string]zerosFinding{"float": zerosMissing, "str": zerosKept}, nil},
		{"BITGET.2022-04-06.cryptofeed-2.4.1", "bid", map[string]zerosFinding{"float": zerosMissing, "str": zerosKept}, nil},
		// The exchange sends these without zeros: they are missing from the texts too.
		{"BITGET.2022-04-06.cryptofeed-2.4.1", "close", map[string]zerosFinding{"float": zerosMissing, "str": zerosMissing}, nil},
		{"BINANCE_FUTURES.2021-07.cryptofeed-2.4.1", "ask", map[string]zerosFinding{"float": zerosUnknown, "str": zerosKept, "decimal": zerosKept}, nil},
		{"HUOBI_SWAP.2022-02.cryptofeed-3.0.1", "price", map[string]zerosFinding{"float": zerosUnknown, "str": zerosUnknown, "decimal": zerosUnknown}, map[string]int{"float": 5}},
	} {
		for numericType, zeros := range tt.zeros {
			t.Run(tt.capture+"/"+numericType+"/"+tt.field, func(t *testing.T) {
				t.Parallel()
				f := fieldOf(t, numbersOfRecording(t, tt.capture+"."+numericType).list(), tt.field)
				seen, other := f.Numbers, f.Strings
				if numericType == "str" {
					seen, other = other, seen
				}
				if f.Producer != "cryptofeed" || seen.Values == 0 || other.Values > 0 || seen.Zeros != zeros || seen.Exponents != tt.exponents[numericType] {
					t.Errorf("%+v, want %s", f, zeros)
				}
			})
		}
	}
}

func numbersOfRecording(t *testing.T, name string) *numbersSeen {
	t.Helper()
	dir := os.Getenv("TICKCONNECT_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	file, err := os.Open(filepath.Join(dir, "cryptofeed", name+".jsonl.zst"))
	if os.IsNotExist(err) {
		t.Skip("no recordings of cryptofeed; set TICKCONNECT_DATA")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	z, err := zstd.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	s := newNumbersSeen()
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var line struct {
			Topic, Value string
			Partition    int32
			Offset       int64
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Fatal(err)
		}
		if err := s.add(&kgo.Record{Topic: line.Topic, Partition: line.Partition, Offset: line.Offset, Value: []byte(line.Value)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestTopicsHonestyTimeIsOver: what was not read is told, and is no success.
func TestTopicsHonestyTimeIsOver(t *testing.T) {
	t.Parallel()
	f := newTopicsFixture(t, testenv.Broker(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	topic := publish.Topic{Name: f.topic(marketdata.KindTrade), Layout: []publish.Partition{{ID: 0}, {ID: 1}}}
	one := numbersTopic{Topic: topic.Name}
	spans := topicSpans{0: {start: 5, stable: 15, end: 15}, 1: {err: kerr.TopicAuthorizationFailed}}
	err := one.read(ctx, &cluster{client: f.client}, topic, spans, 0, newNumbersSeen(), func(int64, int64) {})
	if err == nil || !strings.Contains(err.Error(), "over after 0 of 10 offsets; give it more with --timeout") || !strings.Contains(err.Error(), "allow DESCRIBE on topic "+topic.Name) {
		t.Errorf("it says %v", err)
	}
}
