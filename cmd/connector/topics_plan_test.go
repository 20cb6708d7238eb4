package main

import (
	"context"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// plan judges one topic of trades.
func (f *topicsFixture) plan(flags ...string) (code int, t plannedTopic) {
	f.Helper()
	var p topicsPlan
	code = f.answer(&p, append([]string{"plan", f.topic(marketdata.KindTrade)}, flags...)...)
	if len(p.Topics) != 1 {
		f.Fatalf("exit code %d, %+v", code, p)
	}
	if p.Good != (code == 0) {
		f.Errorf("exit code %d, good is %v", code, p.Good)
	}
	return code, p.Topics[0]
}

// TestTopicsPlanFindings: each finding on a topic that has it, with what to do,
// and no other. A note leaves the exit code 0.
func TestTopicsPlanFindings(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		const partitions = 12
		good := f.trades(200, 50, partitions)
		// each gives every record a change.
		each := func(change func(i int, r *kgo.Record)) []*kgo.Record {
			records := f.trades(200, 50, partitions)
			for i, r := range records {
				change(i, r)
			}
			return records
		}
		price := func(number string) []*kgo.Record {
			return each(func(i int, r *kgo.Record) {
				if i == 7 {
					r.Value = []byte(strings.Replace(string(r.Value), `"65000.10"`, number, 1))
				}
			})
		}
		place := func(key []byte, r *kgo.Record) {
			r.Key, r.Partition = key, marketdata.Partition(key, partitions)
		}
		for _, tt := range []struct {
			name       string
			partitions int32
			settings   map[string]string
			producer   []kgo.Opt
			records    []*kgo.Record
			want       []string // codes, those to do first
			says, do   string
		}{
			{name: "as it should be", records: good},
			{name: "empty"},
			{name: "one partition", partitions: 1, want: []string{"partitions"}, says: "partitions is 1, want 12", do: "rpk topic add-partitions TOPIC --num 11"},
			{
				name: "compacted", settings: map[string]string{"cleanup.policy": "compact"}, records: good, want: []string{"cleanup.policy"},
				says: "also before it is stored", do: "kafka-configs.sh --bootstrap-server BROKER --alter --entity-type topics --entity-name TOPIC --add-config cleanup.policy=delete",
			},
			{name: "an hour", settings: map[string]string{"retention.ms": "3600000"}, want: []string{"retention.ms"}, do: "rpk topic alter-config TOPIC --set retention.ms=604800000"},
			{name: "bytes", settings: map[string]string{"retention.bytes": "1000000"}, want: []string{"retention.bytes"}, says: "sooner"},
			{
				name: "unclean", settings: map[string]string{"unclean.leader.election.enable": "true"}, want: []string{"unclean.leader.election.enable"},
				do: "--set unclean.leader.election.enable=false",
			},
			{name: "gzip by the brokers", settings: map[string]string{"compression.type": "gzip"}, want: []string{"compression.type"}, do: "--set compression.type=lz4"},
			{
				name: "no compression", settings: map[string]string{"compression.type": "producer"}, producer: []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression())},
				records: f.trades(2000, 50, partitions), want: []string{"not_compressed"}, says: "100 % of the bytes", do: "rpk topic alter-config TOPIC --set compression.type=lz4",
			},
			{
				name: "batches too small to compress", settings: map[string]string{"compression.type": "producer"},
				producer: []kgo.Opt{kgo.ProducerBatchCompression(kgo.NoCompression()), kgo.ProducerBatchMaxBytes(800)}, records: good,
			},
			{
				name: "compressed by the producer", settings: map[string]string{"compression.type": "producer"},
				producer: []kgo.Opt{kgo.ProducerBatchCompression(kgo.ZstdCompression())}, records: f.trades(2000, 50, partitions),
			},
			{
				name: "librdkafka", records: each(func(_ int, r *kgo.Record) { r.Partition = int32(crc32.ChecksumIEEE(r.Key) % partitions) }),
				want: []string{"other_partitioner"}, says: "this is how librdkafka's default chooses it", do: "partitioner=murmur2_random",
			},
			{
				name: "producers mix", records: append(each(func(i int, r *kgo.Record) { r.Partition = int32(i/50+i) % partitions }), good...),
				want: []string{"other_partitioner"}, says: "50 keys lie in several partitions", do: "murmur2",
			},
			{
				name: "partitions were added", records: each(func(_ int, r *kgo.Record) { r.Partition = marketdata.Partition(r.Key, 5) }),
				want: []string{"partitions_added", "skew"}, says: "when the topic had 5 partitions",
			},
			{name: "no key", records: each(func(_ int, r *kgo.Record) { r.Key = nil }), want: []string{"no_key"}, says: "200 of 200 records without a key", do: "key: symbol"},
			{
				name: "keyed by exchange", records: each(func(_ int, r *kgo.Record) { place([]byte(f.exchange), r) }),
				want: []string{"exchange_key", "skew"}, says: "keyed by the exchange alone", do: "key: symbol",
			},
			{
				name: "one key", records: each(func(_ int, r *kgo.Record) { place([]byte("trades"), r) }),
				want: []string{"coarse_key", "skew"}, says: `1 key is shared by several symbols, such as "trades"`, do: "key: symbol",
			},
			{
				name: "keyed by id", records: each(func(i int, r *kgo.Record) { place(fmt.Append(nil, i), r) }),
				want: []string{"many_keys"}, says: "50 symbols have several keys", do: "key: symbol",
			},
			{
				name: "a busy symbol", records: append(f.trades(300, 1, partitions), good...),
				want: []string{"skew"}, says: "the order of a symbol needs one partition",
			},
			{name: "a float", records: price("0.30000000000000004"), want: []string{"float"}, says: "these digits are those of a 64-bit float", do: "decimals as text"},
			{name: "many digits", records: price("1234.567890123456789"), want: []string{"float"}, says: "price: 1 number of more than 15 digits, such as 1234.567890123456789: above 15 digits they may already be rounded"},
			{name: "zeros are no digits", records: price("0.000000000000012500000")},
			{name: "many digits as text", records: price(`"0.30000000000000004"`)},
			{name: "an exponent", records: price("9.2e-7"), want: []string{"exponent"}, says: "price 9.2e-7"},
			{name: "bad numbers", records: price(`"free"`), want: []string{"undecodable"}, says: "1 of 200 records cannot be stored and becomes a dead letter: bad_number", do: "mend the producer"},
			{
				name: "tombstones", records: append(each(func(i int, r *kgo.Record) {
					if i < 3 {
						r.Value = nil
					}
				}), good...),
			},
			{
				name: "unknown fields", records: each(func(_ int, r *kgo.Record) {
					r.Value = []byte(strings.Replace(string(r.Value), `"price"`, `"takerSide":"x","price"`, 1))
				}), want: []string{"unknown_fields"}, says: `1 field ignored: "takerSide" (200)`,
			},
			{
				name: "another exchange", records: each(func(_ int, r *kgo.Record) {
					r.Value = []byte(strings.Replace(string(r.Value), f.exchange, "OKX", 1))
				}), want: []string{"other_exchange"}, says: "200 records of another exchange than the topic's: okx", do: "write to crypto-trades-okx",
			},
		} {
			f.T.Run(tt.name, func(t *testing.T) {
				t.Parallel()
				g := newTopicsFixture(t, f.brokers)
				topic := g.topic(marketdata.KindTrade)
				if tt.partitions == 0 {
					tt.partitions = partitions
				}
				g.create(topic, tt.partitions, tt.settings)
				var records []*kgo.Record
				for _, r := range tt.records {
					// Each case has a topic and an exchange of its own.
					own := &kgo.Record{
						Topic: topic, Key: slices.Clone(r.Key), Partition: r.Partition,
					}
					if r.Value != nil {
						own.Value = []byte(strings.Replace(string(r.Value), f.exchange, g.exchange, 1))
					}
					if string(r.Key) == f.exchange {
						place([]byte(g.exchange), own)
					}
					records = append(records, own)
				}
				g.produce(g.newClient(tt.producer...), records...)
				code, p := g.plan()
				var codes []string
				wantCode := 0
				for _, one := range p.Findings {
					codes = append(codes, one.Code)
					if one.Level == levelDo {
						wantCode = 1
					}
				}
				notes := []string{"retention.bytes", "partitions_added", "skew", "exponent", "unknown_fields"}
				if len(tt.want) > 0 && !slices.Contains(notes, tt.want[0]) != (wantCode == 1) || code != wantCode {
					t.Errorf("exit code %d: %+v", code, p.Findings)
				}
				if !slices.Equal(codes, tt.want) {
					t.Fatalf("found %v, want %v: %+v\n%+v", codes, tt.want, p.Findings, p.Sample)
				}
				if p.Sample == nil || p.Sample.Records != len(records) {
					t.Errorf("the sample is %+v, want %d records", p.Sample, len(records))
				}
				if len(tt.want) == 0 {
					return
				}
				do := strings.NewReplacer("TOPIC", topic, "BROKER", g.brokers[0]).Replace(tt.do)
				if one := p.Findings[0]; !strings.Contains(one.What, tt.says) || !strings.Contains(strings.Join(one.Do, "\n"), do) || one.Level == levelDo && len(one.Do) == 0 {
					t.Errorf("it says %q and to do %q; want %q and %q", one.What, one.Do, tt.says, do)
				}
				code, out, errOut := g.run("plan", topic)
				if code != wantCode || !strings.Contains(out, tt.says) || !strings.Contains(out, do) || !strings.Contains(out, map[int]string{0: "Nothing needs doing.", 1: " to do."}[code]) {
					t.Errorf("exit code %d: %s%s", code, out, errOut)
				}
			})
		}
	})
}

// TestTopicsPlanMissing: what is named and not there is to be made, with the
// command that makes it.
func TestTopicsPlanMissing(t *testing.T) {
	t.Parallel()
	f := newTopicsFixture(t, testenv.Broker(t))
	code, out, errOut := f.run("plan")
	if code != 0 || !strings.Contains(out, "There is no topic of market data") {
		t.Errorf("an empty cluster: exit code %d, %s%s", code, out, errOut)
	}
	f.create("crypto-trades-a", 12, nil)
	code, out, errOut = f.run("plan", "--kind", "trade", "--exchange", "a,b")
	if code != 1 || !strings.Contains(out, "connector topics create crypto-trades-b\n") || !strings.Contains(out, "crypto-trades-a\n") || !strings.Contains(out, "1 thing to do.") {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	if code, out, errOut = f.run("create", "crypto-trades-b"); code != 0 {
		t.Fatalf("exit code %d, %s%s", code, out, errOut)
	}
	if code, out, errOut = f.run("plan", "--kind", "trade", "--exchange", "a,b"); code != 0 || !strings.Contains(out, "Nothing needs doing.") {
		t.Errorf("once it is made: exit code %d, %s%s", code, out, errOut)
	}
	if code, _, errOut = f.run("plan", "--sample", "-1"); code != 1 || !strings.Contains(errOut, "--sample: -1 is outside") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

// TestTopicsPlanReads the last records, as many as are asked for, and leaves no
// group behind.
func TestTopicsPlanReads(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		f.create(f.topic(marketdata.KindTrade), 12, nil)
		// The old ones are bad; the sample is of the new ones.
		old := f.trades(1000, 50, 12)
		for _, r := range old {
			r.Value = []byte("{")
		}
		f.produce(f.client, old...)
		f.produce(f.client, f.trades(1000, 50, 12)...)
		code, p := f.plan("--sample", "1000")
		if code != 0 || p.Sample.Records > 1000 || p.Sample.Records < 1000-12 || len(p.Findings) > 1 || *p.Records != 2000 || p.Sample.Keys != 50 {
			f.Errorf("exit code %d, %+v\n%+v", code, p, p.Sample)
		}
		if code, p = f.plan("--sample", "0"); code != 0 || p.Sample != nil {
			f.Errorf("without a sample: exit code %d, %+v", code, p)
		}
		if code, p = f.plan(); code != 1 || p.Sample.Records != 2000 || p.Sample.Undecodable["not_json"] != 1000 {
			f.Errorf("all: exit code %d, %+v", code, p.Sample)
		}
	})
}

// TestTopicsPlanEnds where the last offsets hold no record that is shown: an
// aborted transaction, a transaction's marker, one that is still open.
func TestTopicsPlanEnds(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		topic := f.topic(marketdata.KindTrade)
		f.create(topic, 12, nil)
		f.transaction(kgo.TryCommit, f.trades(50, 10, 12)...)
		bad := f.trade(99, "S1-USD", 12)
		bad.Value = []byte("{")
		f.transaction(kgo.TryAbort, bad)
		open := f.newClient(kgo.TransactionalID(f.exchange + "-open"))
		if err := open.BeginTransaction(); err != nil {
			f.Fatal(err)
		}
		f.produce(open, bad)
		begun := time.Now()
		code, p := f.plan("--timeout", "60s")
		if code != 0 || p.Sample.Records != 50 || p.Sample.Ended != "" {
			f.Errorf("exit code %d, %+v, %+v", code, p.Findings, p.Sample)
		}
		if took := time.Since(begun); took > 30*time.Second {
			f.Errorf("it took %s", took)
		}
		if err := open.EndTransaction(f.Context(), kgo.TryAbort); err != nil {
			f.Fatal(err)
		}
	})
}

// TestLogReaderEnds where the broker has nothing before the end that was asked
// for, as behind what compaction took away, and goes on where retention has
// deleted the beginning.
func TestLogReaderEnds(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		topic := f.topic(marketdata.KindTrade)
		f.create(topic, 1, nil)
		f.produce(f.client, f.trades(10, 10, 1)...)
		var deleted kadm.Offsets
		deleted.AddOffset(topic, 0, 4, -1)
		if _, err := f.admin.DeleteRecords(f.Context(), deleted); err != nil {
			f.Fatal(err)
		}
		var offsets []int64
		r := &logReader{client: f.client, topic: topic, record: func(r *kgo.Record) { offsets = append(offsets, r.Offset) }}
		ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
		defer cancel()
		if err := r.read(ctx, 0, 0, 20); err != nil || !slices.Equal(offsets, []int64{4, 5, 6, 7, 8, 9}) {
			f.Errorf("read %v, %v", offsets, err)
		}
	})
}

// TestTopicsPlanTimeIsOver: what was not read is not called good.
func TestTopicsPlanTimeIsOver(t *testing.T) {
	t.Parallel()
	f := newTopicsFixture(t, testenv.Broker(t))
	topic := publish.Topic{Name: f.topic(marketdata.KindTrade), Partitions: 12}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := newTopicSample(topic, time.Now())
	s.take(ctx, &cluster{client: f.client}, topic.Name, []logRange{{partition: 0, from: 0, to: 10}}, func(int64, int64) {})
	found := &findings{topic: topic.Name}
	found.sample(s, s.report(nil), topic)
	if len(found.list) != 1 || found.list[0].Level != levelDo || !strings.Contains(found.list[0].What, "over after 0 of 10 offsets; give it more with --timeout") {
		t.Errorf("found %+v", found.list)
	}
}

// TestTopicsPlanReplicas: fewer than the cluster allows, up to three, and a
// partition that is not well.
func TestTopicsPlanReplicas(t *testing.T) {
	t.Parallel()
	broker, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{Brokers: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	f := newTopicsFixture(t, broker.Brokers())
	f.create(f.topic(marketdata.KindTrade), 12, nil)
	code, p := f.plan()
	if code != 1 || len(p.Findings) != 1 || p.Findings[0].Code != "replicas" || !strings.Contains(p.Findings[0].What, "replicas is 1, want 3") ||
		!strings.Contains(p.Findings[0].Do[0], "replication.factor=3") {
		t.Errorf("exit code %d, %+v", code, p.Findings)
	}
	for _, tt := range []struct {
		partition publish.Partition
		want      string
	}{
		{publish.Partition{Leader: 0, Replicas: 3, InSync: 3}, ""},
		{publish.Partition{Leader: 0, Replicas: 3, InSync: 2}, "2 of 3 replicas are in sync"},
		{publish.Partition{Leader: -1, Replicas: 3}, "no leader"},
	} {
		found := &findings{topic: "t"}
		found.settings(nil, publish.Topic{Name: "t", Configs: map[string]string{}, Layout: []publish.Partition{tt.partition}})
		if (tt.want != "") != (len(found.list) == 1) || len(found.list) == 1 && !strings.Contains(found.list[0].What, tt.want) {
			t.Errorf("%+v gives %+v", tt.partition, found.list)
		}
	}
}

// TestSaramasPartitioner is told as what it is, whatever the sign of its hash.
func TestSaramasPartitioner(t *testing.T) {
	t.Parallel()
	const partitions = 12
	theirs := sarama.NewHashPartitioner("t")
	s := newTopicSample(publish.Topic{Name: "crypto-trades-a", Partitions: partitions}, time.Now())
	for i := range 200 {
		key := fmt.Sprintf("S%d-USD", i)
		partition, err := theirs.Partition(&sarama.ProducerMessage{Key: sarama.StringEncoder(key)}, partitions)
		if err != nil {
			t.Fatal(err)
		}
		s.addKey(&kgo.Record{Key: []byte(key), Partition: partition})
	}
	if s.misplaced < 100 || len(s.rules) != 1 || s.rules[0].name != "sarama's default" {
		t.Errorf("%d records are elsewhere than murmur2 puts them, by %+v", s.misplaced, s.rules)
	}
}

// TestSampleOfAnalytics: further numbers are kept, and so are no unknown fields;
// floats among them are seen.
func TestSampleOfAnalytics(t *testing.T) {
	t.Parallel()
	s := newTopicSample(publish.Topic{Name: "crypto-analytics", Partitions: 1}, time.Now())
	for _, exchange := range []string{"OKX", "KRAKEN"} {
		s.add(&kgo.Record{Key: []byte(strings.ToLower(exchange)), Value: fmt.Appendf(nil, `{"time":1700000000000,"exchange_id":%q,"fear":"12.5",
			"greed":7,"mood":"calm","nothing":null,"metrics":{"funding":0.30000000000000004}}`, exchange)})
	}
	if s.decoded != 2 || !slices.Equal(s.unknown.names(), []string{"mood", "nothing"}) || !slices.Equal(s.floats.names(), []string{"funding"}) {
		t.Errorf("unknown %v, floats %v, bad %v", s.unknown.names(), s.floats.names(), s.bad.names())
	}
	if s.byExchange > 0 || len(s.ofKey.several()) > 0 || len(s.ofKey) != 2 {
		t.Errorf("analytics without a symbol are keyed by their exchange: %+v", s.ofKey)
	}
}
