package timescalesink

import (
	"cmp"
	"context"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/connect/connecttest"
	"github.com/qicore/tickconnect/marketdata"
)

// TestSink holds the sink to what every sink must do, in both modes.
func TestSink(t *testing.T) {
	for _, mode := range []string{modeUpsert, modeTape} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			connecttest.TestSink(t, suiteTarget(mode, ""))
		})
	}
}

// suiteTarget is what the suite needs to know, for sinks that connect to poolerURL
// where that is set.
func suiteTarget(mode, poolerURL string) connecttest.Target {
	return connecttest.Target{
		New:       func(t testing.TB) *connecttest.Store { return newStore(t, mode, poolerURL) },
		Record:    storeRecord,
		Topics:    []string{"crypto-prices-suite", "crypto-trades-suite"},
		NewerWins: mode == modeUpsert,
		ChecksLog: true,
		Bad: func(topic string, row connecttest.Row) connect.Record {
			return storeRecordOf(topic, row, "the table forbids it")
		},
		Schedules: 2,
	}
}

func storeRecord(topic string, row connecttest.Row) connect.Record {
	return storeRecordOf(topic, row, "suite")
}

func storeRecordOf(topic string, row connecttest.Row, source string) connect.Record {
	if topic == "crypto-trades-suite" {
		return connect.Record{Key: []byte("S"), Value: fmt.Appendf(nil,
			`{"exchangeId":"suite","symbol":"S","tradeId":"%d","time":%d,"price":"%d","size":"1","source":%q}`,
			row.Key, baseTime, row.Content, source)}
	}
	return connect.Record{Key: []byte("S"), Value: fmt.Appendf(nil,
		`{"coinId":"%d","symbol":"S","exchangeId":"suite","usdPrice":%d,"time":%d,"source":%q,"attribution":""}`,
		row.Key, row.Content, baseTime, source)}
}

// newStore makes the tables, with a check that only the database knows, and the
// suite's ways to disturb it, between the sinks and the pooler where there is one.
func newStore(t testing.TB, mode, poolerURL string) *connecttest.Store {
	f := setup(t, func(c *Config) {
		c.InsertMode, c.TapeReplayIndex, c.CopyMin = mode, mode == modeTape, 8
	})
	maker := f.connector()
	if _, err := maker.schema.ensure(f.ctx(), f.conn, []marketdata.Kind{marketdata.KindPrice, marketdata.KindTrade}); err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{"crypto_prices", "crypto_trades"} {
		f.exec(f.in("ALTER TABLE %s." + table + " ADD CHECK (source <> 'the table forbids it')"))
	}
	through, url := newProxy(t, cmp.Or(poolerURL, f.url))
	cfg := *f.cfg
	cfg.ConnectionURL = url
	return &connecttest.Store{
		Connector: func(t testing.TB) connect.Connector {
			c, err := New(f.name, &cfg, connect.Env{})
			if err != nil {
				t.Fatal(err)
			}
			return c
		},
		Rows: func(testing.TB) []connecttest.Row { return f.storeRows() },
		Ledger: func(testing.TB) map[connect.TopicPartition]connect.Counts {
			return f.liveCounts(maker)
		},
		Break: func(testing.TB) func() {
			through.setDown(true)
			return func() { through.setDown(false) }
		},
		Stall:      func(testing.TB) func() { return through.stall() },
		LoseAnswer: func(testing.TB) { through.loseAnswerTo("COMMIT\x00") },
		Hold:       func(t testing.TB, tp connect.TopicPartition) func() { return f.hold(f.url, tp) },
		Reset: func(t testing.TB, tp connect.TopicPartition, next int64) {
			if _, err := maker.Admin().Reset(f.ctx(), Reset{Next: map[connect.TopicPartition]int64{tp: next}}); err != nil {
				t.Fatal(err)
			}
		},
		Snapshot: func(testing.TB) func() { return f.snapshot() },
	}
}

func (f *fixture) storeRows() []connecttest.Row {
	f.Helper()
	rows, err := f.conn.Query(f.ctx(), f.in(`SELECT coin_id::int8, usd_price::int8 FROM %s.crypto_prices
		UNION ALL SELECT trade_id::int8, price::int8 FROM %s.crypto_trades`))
	if err != nil {
		f.Fatal(err)
	}
	out, err := pgx.CollectRows(rows, pgx.RowToStructByPos[connecttest.Row])
	if err != nil {
		f.Fatal(err)
	}
	return out
}

func (f *fixture) liveCounts(c *Connector) map[connect.TopicPartition]connect.Counts {
	f.Helper()
	ledger, err := c.Admin().Ledger(f.ctx())
	if err != nil {
		f.Fatal(err)
	}
	out := map[connect.TopicPartition]connect.Counts{}
	for _, row := range ledger {
		if row.ClosedAt == nil {
			out[row.TopicPartition] = row.Counts
		}
	}
	return out
}

// hold has another transaction hold a ledger row.
func (f *fixture) hold(url string, tp connect.TopicPartition) (free func()) {
	f.Helper()
	conn := f.connect(url)
	tx, err := conn.Begin(f.ctx())
	if err != nil {
		f.Fatal(err)
	}
	tag, err := tx.Exec(f.ctx(), f.in("SELECT FROM %s.connector_ledger WHERE topic = $1 AND partition = $2 FOR UPDATE"), tp.Topic, tp.Partition)
	if err != nil || tag.RowsAffected() == 0 {
		f.Fatalf("holding %s: %d rows, %v", tp, tag.RowsAffected(), err)
	}
	return func() { conn.Close(context.Background()) }
}

var allTables = []string{"crypto_prices", "crypto_trades", ledgerTable, generationsTable, deadLettersTable, topicsTable}

// snapshot copies all tables; restore brings them back in one transaction.
func (f *fixture) snapshot() (restore func()) {
	f.Helper()
	for _, table := range allTables {
		f.exec(f.in("CREATE TABLE %s.saved_" + table + " AS TABLE %s." + table))
	}
	return func() {
		err := pgx.BeginFunc(f.ctx(), f.conn, func(tx pgx.Tx) error {
			for _, table := range allTables {
				for _, sql := range []string{
					"TRUNCATE %s." + table,
					"INSERT INTO %s." + table + " OVERRIDING SYSTEM VALUE TABLE %s.saved_" + table,
				} {
					if _, err := tx.Exec(f.ctx(), f.in(sql)); err != nil {
						return fmt.Errorf("%s: %w", sql, err)
					}
				}
			}
			return nil
		})
		if err != nil {
			f.Fatal(err)
		}
	}
}
