package rekey

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

const (
	// awayInterval is how often a record is tried whose converter needs something that
	// is away, and awayLimit how long: above the time for which a schema registry is
	// asked again for an id that it does not know.
	awayInterval = time.Second
	awayLimit    = time.Minute
)

// keyed is a record with its new key, or why there is none.
type keyed struct {
	*kgo.Record
	key []byte
	why error
}

// keysOf gives the keys of what was read. It waits for what a converter needs and is
// away: a record that merely cannot be read now must not keep its old key.
func (c *copier) keysOf(ctx context.Context, fetches kgo.Fetches) (keys []keyed, err error) {
	var limit <-chan time.Time
	fetches.EachRecord(func(r *kgo.Record) {
		if err != nil || r.Attrs.IsControl() {
			return
		}
		k := keyed{Record: r}
		for {
			if k.key, k.why = c.keyOf(r); !connect.IsRetriable(k.why) {
				break
			}
			if limit == nil {
				limit = time.After(awayLimit)
			}
			select {
			case <-ctx.Done():
				err = ctx.Err()
				return
			case <-limit:
				err = fmt.Errorf("%s/%d@%d: what it is of cannot be told now; the same command goes on: %w", r.Topic, r.Partition, r.Offset, k.why)
				return
			case <-time.After(awayInterval):
			}
		}
		limit = nil
		keys = append(keys, k)
	})
	return keys, err
}

// keyOf gives the key of what a record is of: that of its first row.
func (c *copier) keyOf(r *kgo.Record) ([]byte, error) {
	if r.Value == nil {
		return nil, errors.New("it has no value")
	}
	var row firstRow
	err := c.Converter.Convert(r.Topic, &connect.Record{
		Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli(), Key: r.Key, Value: r.Value,
	}, time.Now(), &row)
	switch {
	case connect.IsRetriable(err):
		return nil, err
	case row.kind == 0 && errors.Is(err, connect.ErrFiltered):
		return nil, fmt.Errorf("it holds nothing that is stored: %w", err)
	case row.kind == 0 && err != nil:
		return nil, err
	case row.kind == 0:
		return nil, errors.New("it has no rows")
	}
	return marketdata.Key(c.Layout, row.kind, row.Exchange, row.Symbol, row.Source)
}

// firstRow keeps what a record's first row is of.
type firstRow struct {
	kind marketdata.Kind
	marketdata.Identity
}

// Row implements converters.Rows.
func (f *firstRow) Row(v marketdata.Row) error {
	if f.kind == 0 {
		*f = firstRow{v.Kind(), v.Identity()}
	}
	return nil
}
