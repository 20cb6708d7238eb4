package rekey

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/marketdata"
)

// awayConverter cannot read a record before back.
type awayConverter struct{ back time.Time }

func (awayConverter) Kinds(string) []marketdata.Kind { return []marketdata.Kind{marketdata.KindTrade} }

func (c awayConverter) Convert(_ string, r *connect.Record, _ time.Time, rows converters.Rows) error {
	switch {
	case string(r.Value) == "bad":
		return errors.New("it is bad")
	case time.Now().Before(c.back):
		return connect.Retriable(errors.New("the registry is away"))
	}
	return rows.Row(&marketdata.Trade{ExchangeID: "e", Symbol: string(r.Value)})
}

// TestKeysWaitForTheConverter: a record that cannot be read now is waited for, and
// does not keep its old key; after a minute, or where the copy is interrupted, there
// is an error and nothing is copied.
func TestKeysWaitForTheConverter(t *testing.T) {
	t.Parallel()
	fetches := kgo.Fetches{{Topics: []kgo.FetchTopic{{Topic: "t", Partitions: []kgo.FetchPartition{{Records: []*kgo.Record{
		{Topic: "t", Offset: 1, Key: []byte("old"), Value: []byte("bad")}, {Topic: "t", Offset: 2, Key: []byte("old"), Value: []byte("BTC")},
	}}}}}}}
	for name, test := range map[string]struct {
		away  time.Duration
		ctx   func(t *testing.T) context.Context
		wrong string
	}{
		"soon back": {away: 12 * time.Second},
		"long away": {away: time.Hour, wrong: "t/0@2: what it is of cannot be told now; the same command goes on: the registry is away"},
		"interrupted": {away: time.Hour, wrong: context.DeadlineExceeded.Error(), ctx: func(t *testing.T) context.Context {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
			t.Cleanup(cancel)
			return ctx
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx := t.Context()
				if test.ctx != nil {
					ctx = test.ctx(t)
				}
				c := &copier{Options: Options{Layout: marketdata.TopicPerExchange, Converter: awayConverter{time.Now().Add(test.away)}}}
				keys, err := c.keysOf(ctx, fetches)
				if test.wrong != "" {
					if err == nil || !strings.Contains(err.Error(), test.wrong) {
						t.Errorf("%v, want %s", err, test.wrong)
					}
					return
				}
				if err != nil || len(keys) != 2 || keys[0].why == nil || keys[1].why != nil || string(keys[1].key) != "BTC" {
					t.Errorf("%+v, %v", keys, err)
				}
			})
		})
	}
}
