package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
)

// JSON is a record as its producer wrote it. It is checked like any other and
// published byte by byte, so that fields which are not known here stay in it.
type JSON struct {
	Kind marketdata.Kind
	// Exchange is that of a value which names none. Where the value names another
	// one, that one counts.
	Exchange string
	Value    []byte
	// Allow, where it is set, is asked before the record is sent: for the exchange
	// that counts, in lower case, or for "" where the record has none. Its error
	// becomes the record's.
	Allow func(exchange string) error
	// Headers travel beside the value.
	Headers []Header
}

// Header is a name and a value beside a record.
type Header = kgo.RecordHeader

// decoding is what looking at one value needs.
type decoding struct {
	marketdata.Decoder
	price     marketdata.Price
	ohlcv     marketdata.OHLCV
	level1    marketdata.Level1
	trade     marketdata.Trade
	analytics marketdata.Analytics
}

// PublishJSON is PublishPrices for records as their producers wrote them.
func (p *Publisher) PublishJSON(ctx context.Context, vs []JSON) ([]Result, error) {
	return p.publish(ctx, len(vs), func(i int) (*record, error) { return p.json(&vs[i]) })
}

// EnqueueJSON is EnqueuePrice for a record as its producer wrote it.
func (p *Publisher) EnqueueJSON(ctx context.Context, v JSON, done func(Result)) error {
	r, err := p.json(&v)
	return p.enqueue(ctx, r, err, done)
}

// CheckJSON checks a record as EnqueueJSON does and gives the topic that it would
// go to. It sends nothing and asks the brokers nothing.
func (p *Publisher) CheckJSON(v JSON) (topic string, err error) {
	r, err := p.json(&v)
	if err != nil {
		return "", err
	}
	return r.topic.name, nil
}

func (p *Publisher) json(v *JSON) (*record, error) {
	d := p.decoder.Get().(*decoding)
	defer p.decoder.Put(d)
	value := v.Value
	var exchange, symbol, source string
	look := func(now time.Time) (err error) {
		exchange, symbol, source, err = d.look(v.Kind, value, now)
		return err
	}
	err := p.clock.check(look)
	if v.Exchange != "" && (err == nil && exchange == "" || lacksExchange(err)) {
		value = withExchange(value, v.Exchange)
		err = p.clock.check(look)
	}
	if err != nil {
		return &record{kind: v.Kind}, err
	}
	if v.Allow != nil {
		if err := v.Allow(exchange); err != nil {
			return &record{kind: v.Kind}, err
		}
	}
	r, key, err := p.address(v.Kind, exchange, symbol, source)
	if err != nil {
		return r, err
	}
	r.fill(key, func(b []byte) []byte { return append(b, value...) })
	r.Headers = v.Headers
	return r, nil
}

// look decodes the value for its checks and its address.
func (d *decoding) look(kind marketdata.Kind, value []byte, now time.Time) (exchange, symbol, source string, err error) {
	switch kind {
	case marketdata.KindPrice:
		err = d.Price(value, now, &d.price)
		return d.price.ExchangeID, d.price.Symbol, d.price.Source, err
	case marketdata.KindOHLCV:
		err = d.OHLCV(value, now, &d.ohlcv)
		return d.ohlcv.ExchangeID, d.ohlcv.Symbol, d.ohlcv.Source, err
	case marketdata.KindLevel1:
		err = d.Level1(value, now, &d.level1)
		return d.level1.ExchangeID, d.level1.Symbol, d.level1.Source, err
	case marketdata.KindTrade:
		err = d.Trade(value, now, &d.trade)
		return d.trade.ExchangeID, d.trade.Symbol, d.trade.Source, err
	case marketdata.KindAnalytics:
		err = d.Analytics(value, now, &d.analytics)
		return d.analytics.ExchangeID, d.analytics.Symbol, d.analytics.Source, err
	}
	return "", "", "", fmt.Errorf("publish: %d is no kind of market data", kind)
}

func lacksExchange(err error) bool {
	var bad *marketdata.Error
	return errors.As(err, &bad) && bad.Reason == marketdata.ReasonMissingField && bad.Field == "exchangeId"
}

// withExchange adds the exchange as an object's last member: of two of one name
// the last one counts, and the value's own, if any, is null.
func withExchange(value []byte, exchange string) []byte {
	body, isObject := bytes.CutSuffix(bytes.TrimRight(value, " \t\r\n"), []byte("}"))
	if !isObject {
		return value
	}
	out := append(make([]byte, 0, len(value)+len(exchange)+20), body...)
	if !bytes.Equal(bytes.TrimSpace(body), []byte("{")) {
		out = append(out, ',')
	}
	name, _ := json.Marshal(exchange) // of a string it gives no error
	return append(append(append(out, `"exchangeId":`...), name...), '}')
}
