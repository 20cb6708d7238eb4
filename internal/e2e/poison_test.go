package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// badPrice makes a record of a price out of a good one.
func badPrice(reason, exchange, old, replacement string) poison {
	good := newSample(marketdata.KindPrice, exchange, 1, 0).value
	if !strings.Contains(good, old) {
		panic(old + " is not in " + good)
	}
	return poison{reason, strings.Replace(good, old, replacement, 1)}
}

// badPrices are records of a price that cannot be stored, one for each way.
func badPrices(exchange string) []poison {
	good := newSample(marketdata.KindPrice, exchange, 1, 0).value
	price, at := digits(1, 0), sampleTime(1)
	iso := `"` + at.Format(time.RFC3339Nano) + `"`
	bad := func(reason, old, replacement string) poison { return badPrice(reason, exchange, old, replacement) }
	return []poison{
		{marketdata.ReasonEmptyValue, ""},
		{marketdata.ReasonNotJSON, good[:len(good)-9]},
		{marketdata.ReasonNotJSON, good[:len(good)-1] + `,"padding":"` + strings.Repeat("x", 1<<20-len(good)-64)},
		{marketdata.ReasonNotAnObject, `[1,2,3]`},
		{marketdata.ReasonNotAnObject, `"price"`},
		{marketdata.ReasonMissingField, `{"question":42}`},
		bad(marketdata.ReasonMissingField, `"`+price+`"`, `null`),
		bad(marketdata.ReasonWrongType, `"`+price+`"`, `{"value":1}`),
		bad(marketdata.ReasonBadNumber, `"`+price+`"`, `"NaN"`),
		bad(marketdata.ReasonNotJSON, `"`+price+`"`, `NaN`),
		bad(marketdata.ReasonBadNumber, `"`+price+`"`, `"12,5"`),
		bad(marketdata.ReasonOutOfRange, `"`+price+`"`, `"-1.5"`),
		bad(marketdata.ReasonOutOfRange, `"`+price+`"`, `0`),
		bad(marketdata.ReasonOutOfRange, `"`+price+`"`, `1e1001`),
		bad(marketdata.ReasonOutOfRange, iso, strconv.FormatInt(at.Unix()/60, 10)),  // minutes
		bad(marketdata.ReasonOutOfRange, iso, strconv.FormatInt(at.Unix()*100, 10)), // hundredths
		bad(marketdata.ReasonBadTime, iso, `"yesterday"`),
		bad(marketdata.ReasonInvalidText, `"symbol":"S01-USD"`, "\"symbol\":\"S\xff\""),
		bad(marketdata.ReasonInvalidText, `"symbol":"S01-USD"`, `"symbol":"S\u0000"`),
	}
}

// pricedAt is a good record with a price as it is sent, and as it is stored.
func pricedAt(exchange string, seq int, sent, stored string) sample {
	s := newSample(marketdata.KindPrice, exchange, seq, 0)
	s.value = strings.Replace(s.value, `"`+digits(seq, 0)+`"`, sent, 1)
	s.columns[4] = stored
	return s
}

// TestBadRecords: records that cannot be stored become dead letters with their
// exact bytes, in the table and in the topic that the configuration names, and
// the good ones around them are stored, however odd.
func TestBadRecords(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		letters := "dead-letters-" + s.id
		s.settings["errors.deadletterqueue.topic.name"] = letters
		exchange := s.exchange("kraken")
		topics := map[marketdata.Kind]string{}
		for _, kind := range marketdata.Kinds() {
			topics[kind] = s.createTopic(kind, "kraken", 2)
		}
		prices := topics[marketdata.KindPrice]
		s.produceBad(prices, badPrices(exchange)[0]) // the log's first record
		for i, bad := range badPrices(exchange) {
			s.produce(prices, newSample(marketdata.KindPrice, exchange, i, 0), newSample(marketdata.KindPrice, exchange, i, 1))
			s.produceBad(prices, bad)
		}
		const forty = "1234567890123456789012345678901234567890.0123456789012345678901234567890123456789"
		s.produce(prices,
			pricedAt(exchange, 1001, `"`+forty+`"`, forty),
			pricedAt(exchange, 1002, forty, forty),
			pricedAt(exchange, 1003, `1.5e3`, "1500"),
			pricedAt(exchange, 1004, `"15E-5"`, "0.00015"),
		)
		large := newSample(marketdata.KindPrice, exchange, 1005, 0)
		large.value = large.value[:len(large.value)-1] + `,"padding":"` + strings.Repeat("x", 1<<20-len(large.value)-64) + `"}`
		s.produce(prices, large)
		s.produceTombstone(prices)
		for kind, bad := range map[marketdata.Kind]poison{
			marketdata.KindOHLCV:     {marketdata.ReasonMissingField, fmt.Sprintf(`{"exchangeId":%q,"symbol":"X","interval":"1m","time":1704412800,"open":1,"high":1,"low":1}`, exchange)},
			marketdata.KindLevel1:    {marketdata.ReasonBadNumber, fmt.Sprintf(`{"exchangeId":%q,"symbol":"X","time":1704412800,"bidPrice":1,"sequence":1.5}`, exchange)},
			marketdata.KindTrade:     {marketdata.ReasonOutOfRange, fmt.Sprintf(`{"exchangeId":%q,"symbol":"X","time":1704412800,"price":-1,"size":1}`, exchange)},
			marketdata.KindAnalytics: {marketdata.ReasonMissingField, `{"totalMarketCap":1}`},
		} {
			s.produce(topics[kind], newSample(kind, exchange, 0, 0))
			s.produceBad(topics[kind], bad)
			s.produce(topics[kind], newSample(kind, exchange, 1, 0))
		}
		r := s.start("replica-0")
		s.checkAccount()
		r.waitHealth(http.StatusOK)
		s.checkPublished(letters)
	})
}

// checkPublished reads the topic of dead letters: each is there with its own
// headers and Kafka Connect's, at least once.
func (s *stack) checkPublished(topic string) {
	s.t.Helper()
	reader, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMinAge(100*time.Millisecond), kgo.FetchMaxPartitionBytes(4<<20))
	if err != nil {
		s.t.Fatal(err)
	}
	defer reader.Close()
	missing := map[position]poison{}
	for p, bad := range s.journal.bad {
		missing[p] = bad
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	tasks := map[string]bool{} // whose lanes stored the partitions, which go round them
	for len(missing) > 0 {
		fetches := reader.PollFetches(ctx)
		if ctx.Err() != nil {
			s.t.Fatalf("%d of %d dead letters were not published to %s", len(missing), len(s.journal.bad), topic)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			headers := map[string]string{}
			for _, h := range r.Headers {
				headers[h.Key] = string(h.Value)
			}
			const prefix = "__connect.errors."
			partition, _ := strconv.ParseInt(headers[prefix+"partition"], 10, 32)
			offset, _ := strconv.ParseInt(headers[prefix+"offset"], 10, 64)
			p := position{connect.TopicPartition{Topic: headers[prefix+"topic"], Partition: int32(partition)}, offset}
			want, ok := s.journal.bad[p]
			switch {
			case !ok:
				s.t.Errorf("a record in %s names no bad record: %v", topic, headers)
			case string(r.Value) != want.value || r.Value == nil || string(r.Key) != "bad" || headers["trace"] != "\xff\x00":
				s.t.Errorf("%s was published with other bytes or without its own header: %.200q, %v", p, r.Value, headers)
			case headers[prefix+"connector.name"] != s.connector || headers[prefix+"stage"] == "" || headers[prefix+"exception.message"] == "":
				s.t.Errorf("%s was published without what Kafka Connect says: %v", p, headers)
			}
			tasks[headers[prefix+"task.id"]] = true
			delete(missing, p)
		})
	}
	if len(tasks) != 2 || !tasks["0"] || !tasks["1"] {
		s.t.Errorf("the dead letters name the tasks %v, want 0 and 1", tasks)
	}
}

// TestUnknownKind: a topic whose name tells no kind of market data is refused
// with advice and holds no other; with the kind in kinds.ignore its records are
// counted as filtered.
func TestUnknownKind(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		good := s.createTopic(marketdata.KindTrade, "okx", 2)
		r := s.start("replica-0")
		options := "crypto-options-" + s.exchange("okx")
		s.createNamed(options, 1, nil)
		s.topics = []string{good}
		s.produceRaw(&kgo.Record{Topic: options, Value: []byte(`{"strike":"1"}`)})
		for seq := range 50 {
			s.produce(good, newSample(marketdata.KindTrade, s.exchange("okx"), seq, 0))
		}
		s.checkAccount()
		r.waitHealth(http.StatusServiceUnavailable, options, "kinds.ignore")
		r.terminate(limit)

		s.topics = append(s.topics, options)
		s.journal.counts.filtered++
		r = startReplica(t, "replica-0", s.config("replica-0", map[string]string{"kinds.ignore": "options"}, ""))
		s.checkAccount()
		r.waitHealth(http.StatusOK)
	})
}

// TestOlderBarAfterNewer: a bar with an earlier record time, from another
// partition, does not overwrite the one that is there.
func TestOlderBarAfterNewer(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		s := newStack(t, brokers)
		topic := s.createTopic(marketdata.KindOHLCV, "okx", 2)
		manual, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.UnknownTopicRetries(-1))
		if err != nil {
			t.Fatal(err)
		}
		defer manual.Close()
		send := func(partition int32, revision int, time time.Time) {
			bar := newSample(marketdata.KindOHLCV, s.exchange("okx"), 7, revision)
			r := bar.record(topic)
			r.Partition, r.Timestamp = partition, time
			if err := manual.ProduceSync(t.Context(), r).FirstErr(); err != nil {
				t.Fatal(err)
			}
			if revision == 1 {
				s.journal.stored(&bar, at(r))
			} else {
				s.journal.counts.good++
			}
		}
		now := time.Now()
		send(0, 1, now)
		s.start("replica-0")
		s.waitStored()
		send(1, 0, now.Add(-time.Minute))
		s.checkAccount()
		ledger, err := s.ledger(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := ledger[connect.TopicPartition{Topic: topic, Partition: 1}].counts; got.Stale != 1 {
			t.Errorf("the older bar's fate is %+v, want stale", got)
		}
	})
}
