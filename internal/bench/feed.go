package main

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// symbolsMax is how many symbols one exchange's feed has: a large venue's USD
// pairs.
const symbolsMax = 300

// feed makes price records of one exchange from a seed. Prices walk at random in
// steps of the venue's tick, with as many digits as venues give them: 67123.45
// for a large coin, 0.00001234 for a small one. No two records of a feed have
// the same natural key.
type feed struct {
	rand     *rand.Rand
	exchange string
	symbols  []symbol
	time     time.Time
	step     time.Duration // between two records

	current  *symbol // of the record that was made last
	moment   time.Time
	numbers  []byte // its three decimals, one after the other
	capFrom  int    // where the market cap begins in numbers
	turnFrom int    // where the volume begins in numbers
}

type symbol struct {
	coinID, ticker string
	ticks          int64 // the price in units of its last digit
	digits         int   // of the price's fraction
	supply         float64
	turnover       float64
}

// newFeed makes a feed whose first record is of the time from.
func newFeed(seed uint64, exchange string, from time.Time, step time.Duration) *feed {
	f := &feed{rand: rand.New(rand.NewPCG(seed, uint64(len(exchange)))), exchange: exchange, time: from, step: step}
	for i := range symbolsMax {
		f.symbols = append(f.symbols, f.newSymbol(i))
	}
	return f
}

const (
	consonants = "bcdfghklmnprstvz"
	vowels     = "aeiou"
)

func (f *feed) newSymbol(i int) symbol {
	name := make([]byte, 0, 16)
	for range 2 + f.rand.IntN(2) {
		name = append(name, consonants[f.rand.IntN(len(consonants))], vowels[f.rand.IntN(len(vowels))])
	}
	ticker := fmt.Sprintf("%c%c%c%d", name[0]-32, name[2]-32, consonants[f.rand.IntN(len(consonants))]-32, i)
	// The larger a price the fewer digits its fraction has.
	digits := []int{2, 4, 5, 8}[f.rand.IntN(4)]
	return symbol{
		coinID: fmt.Sprintf("%s-%d", name, i), ticker: ticker, digits: digits,
		ticks:    1000 + f.rand.Int64N(9_000_000),
		supply:   1e5 * float64(1+f.rand.IntN(10_000)),
		turnover: 1e4 * float64(1+f.rand.IntN(100_000)),
	}
}

// next makes the next record, whose moment is at least a microsecond after the
// one before.
func (f *feed) next() {
	f.time = f.time.Add(f.step)
	f.make(f.time.Add(time.Duration(f.rand.Int64N(max(f.step.Microseconds()-1, 1))) * time.Microsecond))
}

// make makes a record of a moment that the caller chooses.
func (f *feed) make(moment time.Time) {
	s := &f.symbols[f.rand.IntN(len(f.symbols))]
	f.current, f.moment = s, moment
	s.ticks = max(s.ticks+f.rand.Int64N(21)-10, 100)
	s.turnover *= 1 + (f.rand.Float64()-0.5)/1000
	price := float64(s.ticks)
	unit := int64(1)
	for range s.digits {
		price /= 10
		unit *= 10
	}
	b := strconv.AppendInt(f.numbers[:0], s.ticks/unit, 10)
	b = append(b, '.')
	fraction := strconv.FormatInt(s.ticks%unit, 10)
	for range s.digits - len(fraction) {
		b = append(b, '0')
	}
	b = append(b, fraction...)
	f.capFrom = len(b)
	b = strconv.AppendFloat(b, s.supply*price, 'f', 2, 64)
	f.turnFrom = len(b)
	f.numbers = strconv.AppendFloat(b, s.turnover, 'f', 2, 64)
}

func (f *feed) price() []byte     { return f.numbers[:f.capFrom] }
func (f *feed) marketCap() []byte { return f.numbers[f.capFrom:f.turnFrom] }
func (f *feed) volume() []byte    { return f.numbers[f.turnFrom:] }

// timeFormat is that of the sink's rows: all six digits of a microsecond.
const timeFormat = "2006-01-02T15:04:05.000000Z"

// appendJSON appends the record as producers send it, about 225 bytes.
func (f *feed) appendJSON(b []byte) []byte {
	b = append(append(b, `{"coinId":"`...), f.current.coinID...)
	b = append(append(b, `","symbol":"`...), f.current.ticker...)
	b = append(append(b, `","exchangeId":"`...), f.exchange...)
	b = append(append(b, `","usdPrice":"`...), f.price()...)
	b = append(append(b, `","marketCap":"`...), f.marketCap()...)
	b = append(append(b, `","volume24h":"`...), f.volume()...)
	b = append(b, `","time":"`...)
	b = f.moment.UTC().AppendFormat(b, timeFormat)
	b = append(b, `","source":"exchange-feed","attribution":"`...)
	return append(append(b, f.exchange...), ` spot"}`...)
}

// origin is where a row comes from, as the sink stores it.
type origin struct {
	topic     int
	partition int32
	offset    int64
	time      time.Time
}

// appendLine appends the record as a line of COPY's text format, with the
// columns of priceColumns.
func (f *feed) appendLine(b []byte, o origin) []byte {
	b = append(append(b, f.current.coinID...), '\t')
	b = append(append(b, f.exchange...), '\t')
	b = append(f.moment.UTC().AppendFormat(b, timeFormat), '\t')
	b = append(append(b, f.current.ticker...), '\t')
	b = append(append(b, f.price()...), '\t')
	b = append(append(b, f.marketCap()...), '\t')
	b = append(append(b, f.volume()...), '\t')
	b = append(b, "exchange-feed\t"...)
	b = append(append(b, f.exchange...), " spot\t\\N\t"...)
	b = append(strconv.AppendInt(b, int64(o.topic), 10), '\t')
	b = append(strconv.AppendInt(b, int64(o.partition), 10), '\t')
	b = append(strconv.AppendInt(b, o.offset, 10), '\t')
	return append(o.time.UTC().AppendFormat(b, timeFormat), '\n')
}

// priceColumns are the columns of appendLine, in its order.
const priceColumns = "coin_id, exchange_id, time, symbol, usd_price, market_cap, volume_24h, source, attribution, flags, " +
	"origin_topic, origin_partition, origin_offset, origin_time"
