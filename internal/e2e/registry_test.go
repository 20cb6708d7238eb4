package e2e

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/avro"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
	"github.com/twmb/franz-go/pkg/sr/srfake"
)

// TestSchemaRegistry: Avro records of two versions of a schema on one topic. The
// registry goes away before the second is known: its records wait, and are no dead
// letters; another connector's go on.
func TestSchemaRegistry(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		registry := srfake.New()
		defer registry.Close()
		var away atomic.Bool
		registry.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
			if away.Load() {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
			return away.Load()
		})
		topic := "avro-" + s.id
		s.createNamed(topic, 2, nil)
		send := func(scale, from, to int) {
			schema := fmt.Sprintf(`{"type":"record","name":"trade","fields":[{"name":"exchange","type":"string"},{"name":"symbol","type":"string"},{"name":"id","type":"long"},
				{"name":"at","type":{"type":"long","logicalType":"timestamp-micros"}},{"name":"price","type":{"type":"bytes","logicalType":"decimal","precision":20,"scale":%d}},
				{"name":"size","type":["null","double"]}]}`, scale)
			id, _, err := registry.RegisterSchema(topic+"-value", sr.Schema{Schema: schema, Type: sr.TypeAvro})
			if err != nil {
				t.Fatal(err)
			}
			encoder, err := avro.Parse(schema)
			if err != nil {
				t.Fatal(err)
			}
			for i := from; i < to; i++ {
				value, err := encoder.AppendEncode(binary.BigEndian.AppendUint32([]byte{0}, uint32(id)), map[string]any{
					"exchange": "KRAKEN", "symbol": "BTC", "id": i, "at": time.Unix(1_700_000_000+int64(i), 123_000), "price": big.NewRat(int64(10*i+5), 10), "size": 0.5,
				})
				if err != nil {
					t.Fatal(err)
				}
				s.produceRaw(&kgo.Record{Topic: topic, Key: []byte("BTC"), Value: value})
			}
		}
		send(2, 0, 50)
		r := startReplica(t, "replica-0", s.config("replica-0", map[string]string{
			"topics.regex": topic, "value.converter": "avro", "value.converter.schema.registry.url": registry.URL(),
			"value.converter.kind": "trade", "value.converter.fields": "exchangeId=exchange,tradeId=id,time=at",
		}, ""))
		stored := func(want int) {
			t.Helper()
			eventually(t, limit, func() string {
				var written, dead int
				err := s.db.QueryRow(t.Context(), "SELECT coalesce(sum(written), 0)::int, coalesce(sum(dead_lettered), 0)::int FROM "+
					s.table("connector_ledger")).Scan(&written, &dead)
				if dead > 0 {
					t.Fatalf("%d dead letters", dead)
				}
				if err != nil || written != want {
					return fmt.Sprintf("%d of %d are written, %v", written, want, err)
				}
				return ""
			})
		}
		stored(50)
		away.Store(true)
		send(4, 50, 100) // the next version has another scale, and nobody tells of it
		r.waitHealth(http.StatusServiceUnavailable, "records wait", "schema registry")
		stored(50)
		away.Store(false)
		stored(100)
		r.waitHealth(http.StatusOK)
		var prices string
		err := s.db.QueryRow(t.Context(), "SELECT string_agg(price::text, ' ' ORDER BY trade_id::int) FILTER (WHERE trade_id IN ('0', '49', '50', '99')) FROM "+
			s.table("crypto_trades")).Scan(&prices)
		if want := "0.50 49.50 50.5000 99.5000"; err != nil || prices != want {
			t.Errorf("prices %s, want %s; %v", prices, want, err)
		}
		r.terminate(limit)
	})
}
