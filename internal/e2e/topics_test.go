package e2e

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
)

// trades sends trades number from to to-1 of an exchange.
func (s *stack) trades(topic, exchange string, from, to int) {
	s.t.Helper()
	var samples []sample
	for seq := from; seq < to; seq++ {
		samples = append(samples, newSample(marketdata.KindTrade, s.exchange(exchange), seq, 0))
	}
	s.produce(topic, samples...)
}

// sinkAdmin gives what an operator's commands use.
func (s *stack) sinkAdmin() *timescalesink.Admin {
	s.t.Helper()
	cfg := timescalesink.Default()
	cfg.ConnectionURL, cfg.SchemaName = s.url, s.schema
	target, err := timescalesink.Plugin().New(s.connector, cfg, connect.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		if err := target.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return target.(interface{ Admin() *timescalesink.Admin }).Admin()
}

// checkAllRows waits until all is stored and compares the rows: after a reset the
// ledger no longer counts what earlier generations stored.
func (s *stack) checkAllRows() {
	s.t.Helper()
	s.waitStored()
	for _, kind := range marketdata.Kinds() {
		s.checkRows(kind, "")
	}
}

// TestTopicsChange: topics that appear and grow while the connector runs are
// read; one that is deleted and made again is refused with advice while the
// others go on, and is read after a reset of its offsets.
func TestTopicsChange(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		okx := s.createTopic(marketdata.KindTrade, "okx", 1)
		r := s.start("replica-0")
		s.trades(okx, "okx", 0, 100)
		s.checkAccount()

		kraken := s.createTopic(marketdata.KindTrade, "kraken", 2)
		s.trades(kraken, "kraken", 0, 100)
		s.checkAccount()

		if _, err := s.admin.CreatePartitions(t.Context(), 3, kraken); err != nil {
			t.Fatal(err)
		}
		eventually(t, limit, func() string {
			s.client.ForceMetadataRefresh()
			if ends, err := s.ends(t.Context()); err != nil || len(ends) != 1+5 {
				return fmt.Sprintf("there are %d partitions (%v)", len(ends), err)
			}
			return ""
		})
		// Keys of other symbols, so that none moves to another partition.
		manual, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1))
		if err != nil {
			t.Fatal(err)
		}
		defer manual.Close()
		for seq := 200; seq < 230; seq++ {
			trade := newSample(marketdata.KindTrade, s.exchange("kraken"), seq, 0)
			rec := trade.record(kraken)
			rec.Partition = int32(seq % 5)
			if err := manual.ProduceSync(t.Context(), rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
			s.journal.stored(&trade, at(rec))
		}
		s.checkAccount()
		r.waitHealth(http.StatusOK)

		s.remake(kraken, 2)
		s.topics = []string{okx}
		s.trades(okx, "okx", 100, 200)
		s.waitStored()
		r.waitHealth(http.StatusServiceUnavailable, kraken, "made again", "reset")

		s.topics = []string{okx, kraken}
		s.trades(kraken, "kraken", 300, 400)
		ids, err := s.admin.ListTopics(t.Context(), kraken)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.sinkAdmin().Reset(t.Context(), timescalesink.Reset{
			MadeAgain: map[string]connect.TopicID{kraken: connect.TopicID(ids[kraken].ID)}, Note: "made again",
		})
		if err != nil {
			t.Fatal(err)
		}
		s.checkAllRows()
		s.trades(kraken, "kraken", 400, 450)
		s.trades(okx, "okx", 200, 250)
		s.checkAllRows()
		r.waitHealth(http.StatusOK)
	})
}

// remake deletes a topic and makes it again.
func (s *stack) remake(topic string, partitions int32) {
	s.t.Helper()
	if _, err := s.admin.DeleteTopic(s.t.Context(), topic); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, limit, func() string {
		if _, err := s.admin.CreateTopic(s.t.Context(), partitions, 1, nil, topic); err != nil {
			return err.Error()
		}
		return ""
	})
	// The producer's client must see the new one.
	s.client.PurgeTopicsFromProducing(topic)
}

// TestLedgerAheadOfLog: a ledger that stands beyond the log's end is refused with
// advice, and nothing is read there until the offsets are reset.
func TestLedgerAheadOfLog(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		topic := s.createTopic(marketdata.KindTrade, "okx", 1)
		s.trades(topic, "okx", 0, 100)
		first := s.start("replica-0")
		s.checkAccount()
		first.terminate(limit)
		s.exec("UPDATE "+s.table("connector_ledger")+" SET next_offset = next_offset + 1000, absent = absent + 1000 WHERE connector = $1", s.connector)
		r := s.start("replica-1")
		r.waitHealth(http.StatusServiceUnavailable, topic, "the ledger stands at 1100", "the log ends at 100", "reset")
		s.trades(topic, "okx", 100, 150)
		_, err := s.sinkAdmin().Reset(t.Context(), timescalesink.Reset{
			Next: map[connect.TopicPartition]int64{{Topic: topic, Partition: 0}: 100}, Note: "the ledger was ahead",
		})
		if err != nil {
			t.Fatal(err)
		}
		s.checkAllRows()
		r.waitHealth(http.StatusOK)
	})
}

// TestTransactions: records of aborted transactions are not stored, and the
// ledger reaches the last stable offset past the markers at the log's end.
func TestTransactions(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		topic := s.createTopic(marketdata.KindTrade, "okx", 2)
		producer, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.TransactionalID("tx-"+s.id), kgo.UnknownTopicRetries(-1))
		if err != nil {
			t.Fatal(err)
		}
		defer producer.Close()
		begin := func(from, to int) (samples []sample, records []*kgo.Record) {
			t.Helper()
			if err := producer.BeginTransaction(); err != nil {
				t.Fatal(err)
			}
			for seq := from; seq < to; seq++ {
				sa := newSample(marketdata.KindTrade, s.exchange("okx"), seq, 0)
				samples, records = append(samples, sa), append(records, sa.record(topic))
			}
			if err := producer.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
				t.Fatal(err)
			}
			return samples, records
		}
		// A broker answers before all partitions have the marker that ends it.
		end := func(commit kgo.TransactionEndTry, records []*kgo.Record) {
			t.Helper()
			if err := producer.EndTransaction(t.Context(), commit); err != nil {
				t.Fatal(err)
			}
			eventually(t, limit, func() string {
				ends, err := s.ends(t.Context())
				if err != nil {
					return err.Error()
				}
				for _, r := range records {
					if ends[at(r).TopicPartition] <= r.Offset {
						return "the transaction's end is not yet in the log"
					}
				}
				return ""
			})
		}
		committed := func(from, to int) {
			t.Helper()
			samples, records := begin(from, to)
			end(kgo.TryCommit, records)
			for i, r := range records {
				s.journal.stored(&samples[i], at(r))
			}
		}
		aborted := func(from, to int) {
			t.Helper()
			_, records := begin(from, to)
			end(kgo.TryAbort, records)
		}

		aborted(1000, 1100)
		committed(0, 50)
		aborted(1100, 1150)
		s.start("replica-0")
		s.checkAccount()
		for round := range 3 {
			committed(50+20*round, 70+20*round)
			aborted(1200+20*round, 1220+20*round)
		}
		s.checkAccount()
		// While a transaction is open, the log ends before it.
		samples, records := begin(500, 520)
		s.checkAccount()
		end(kgo.TryCommit, records)
		for i, r := range records {
			s.journal.stored(&samples[i], at(r))
		}
		s.checkAccount()
		ledger, err := s.ledger(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var absent int64
		for _, row := range ledger {
			absent += row.counts.Absent
		}
		if absent < 210 {
			t.Errorf("%d offsets are counted as absent, want the 210 aborted records and the markers", absent)
		}
	})
}

// TestCompactedTopic: offsets that compaction took away are counted as absent,
// after a look at the log.
func TestCompactedTopic(t *testing.T) {
	t.Parallel()
	k, err := devstack.StartKafka(t.Context(), devstack.KafkaOptions{Settings: map[string]string{"log.cleaner.backoff.ms": "200"}})
	testenv.Need(t, err)
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Error(err)
		}
	})
	s := newStack(t, k.Brokers())
	topic := marketdata.TopicName(marketdata.KindTrade, s.exchange("okx"))
	text := func(s string) *string { return &s }
	s.createNamed(topic, 1, map[string]*string{
		"cleanup.policy": text("compact"), "segment.ms": text("1000"), "min.cleanable.dirty.ratio": text("0.001"),
	})
	// Many records of few keys, of which only the last ones stay.
	send := func(revision int) {
		for seq := range 23 {
			trade := newSample(marketdata.KindTrade, s.exchange("okx"), seq, revision)
			s.produce(topic, trade)
		}
	}
	last := 0
	// A segment ends with the first record after its time, and only then can it be
	// compacted.
	eventually(t, limit, func() string {
		send(last)
		last++
		if held, end := s.count(topic); held == end {
			return fmt.Sprintf("the log holds all %d records", end)
		}
		return ""
	})
	s.start("replica-0")
	s.checkAllRows()
	ledger, err := s.ledger(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got := ledger[connect.TopicPartition{Topic: topic}]; got.counts.Absent == 0 || got.counts.DeadLettered != 0 {
		t.Errorf("the account of a compacted topic is %+v", got)
	}
}

// count reads a topic of one partition and says how many records it holds, and
// where it ends.
func (s *stack) count(topic string) (held, end int64) {
	s.t.Helper()
	ends, err := s.ends(s.t.Context())
	if err != nil {
		s.t.Fatal(err)
	}
	end = ends[connect.TopicPartition{Topic: topic}]
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
		topic: {0: kgo.NewOffset().AtStart()},
	}))
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	for next := int64(0); next < end; {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("reading %s stands at %d of %d", topic, next, end)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			held++
			next = r.Offset + 1
		})
	}
	return held, end
}

// TestExpiredRecords: records that the broker deleted before they were read are
// counted as expired, and what came after them is stored.
func TestExpiredRecords(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		topic := s.createTopic(marketdata.KindTrade, "okx", 1)
		s.trades(topic, "okx", 0, 20)
		first := s.start("replica-0")
		s.checkAccount()
		first.terminate(limit)
		for seq := 20; seq < 60; seq++ {
			trade := newSample(marketdata.KindTrade, s.exchange("okx"), seq, 0)
			s.produceRaw(trade.record(topic))
		}
		s.trades(topic, "okx", 60, 100)
		offsets := kadm.Offsets{}
		offsets.AddOffset(topic, 0, 60, -1)
		deleted, err := s.admin.DeleteRecords(t.Context(), offsets)
		if err == nil {
			err = deleted.Error()
		}
		if err != nil {
			t.Fatal(err)
		}
		s.start("replica-0")
		s.checkAllRows()
		ledger, err := s.ledger(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got := ledger[connect.TopicPartition{Topic: topic}].counts
		if got.Expired != 40 || got.Written != 60 || got.Offsets() != 100 {
			t.Errorf("the account is %+v, want 60 written and 40 expired", got)
		}
	})
}
