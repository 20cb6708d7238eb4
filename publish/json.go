package publish

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	d := p.decoder.Get().(*marketdata.Decoder)
	defer p.decoder.Put(d)
	value := v.Value
	var id marketdata.Identity
	look := func(now time.Time) (err error) {
		id, err = d.Identify(v.Kind, value, now)
		return err
	}
	err := p.clock.check(look)
	if v.Exchange != "" && (err == nil && id.Exchange == "" || lacksExchange(err)) {
		value = withExchange(value, v.Exchange)
		err = p.clock.check(look)
	}
	if err != nil {
		return &record{kind: v.Kind}, err
	}
	if v.Allow != nil {
		if err := v.Allow(id.Exchange); err != nil {
			return &record{kind: v.Kind}, err
		}
	}
	r, key, err := p.address(v.Kind, id.Exchange, id.Symbol, id.Source)
	if err != nil {
		return r, err
	}
	r.fill(key, func(b []byte) []byte { return append(b, value...) })
	r.Headers = v.Headers
	return r, nil
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
