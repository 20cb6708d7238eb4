package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// topicsFixture is a cluster, and an exchange of the test's own in it.
type topicsFixture struct {
	*testing.T
	brokers  []string
	exchange string
	client   *kgo.Client // puts each record into the partition that it names
	admin    *kadm.Client
}

// onBothClusters runs a test on the in-process broker and on Apache Kafka.
func onBothClusters(t *testing.T, test func(f *topicsFixture)) {
	t.Helper()
	t.Parallel()
	t.Run("kfake", func(t *testing.T) { t.Parallel(); test(newTopicsFixture(t, testenv.Broker(t))) })
	t.Run("kafka", func(t *testing.T) { t.Parallel(); test(newTopicsFixture(t, testenv.Kafka(t))) })
}

func newTopicsFixture(t *testing.T, brokers []string, opts ...kgo.Opt) *topicsFixture {
	t.Helper()
	f := &topicsFixture{T: t, brokers: brokers, exchange: testenv.Topic(t)}
	f.client = f.newClient(opts...)
	f.admin = kadm.NewClient(f.client)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		var names []string
		for _, k := range marketdata.Kinds() {
			names = append(names, f.topic(k))
		}
		if _, err := f.admin.DeleteTopics(ctx, names...); err != nil {
			t.Logf("deleting topics: %v", err)
		}
	})
	return f
}

func (f *topicsFixture) newClient(opts ...kgo.Opt) *kgo.Client {
	f.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(f.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		// A topic was made a moment ago, and its leader may not be known yet.
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.UnknownTopicRetries(-1),
	}, opts...)...)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(client.Close)
	return client
}

func (f *topicsFixture) topic(k marketdata.Kind) string { return marketdata.TopicName(k, f.exchange) }

// create makes a topic as its kind wants it, but for the settings given.
func (f *topicsFixture) create(topic string, partitions int32, settings map[string]string) {
	f.Helper()
	configs := map[string]*string{}
	for k, v := range publish.DefaultTopicSettings(marketdata.KindTrade).Configs() {
		configs[k] = &v
	}
	for k, v := range settings {
		configs[k] = &v
	}
	if _, err := f.admin.CreateTopic(f.Context(), partitions, 1, configs, topic); err != nil {
		f.Fatal(err)
	}
	// A broker hears of it soon after the controller has answered.
	ctx, cancel := context.WithTimeout(f.Context(), 30*time.Second)
	defer cancel()
	if _, err := publish.NewAdmin(f.client).Await(ctx, topic); err != nil {
		f.Fatal(err)
	}
}

// run runs a command on topics, on the test's brokers.
func (f *topicsFixture) run(args ...string) (code int, out, errOut string) {
	f.Helper()
	args = append([]string{"topics"}, args...)
	return command(f.T, append(args, "--brokers", strings.Join(f.brokers, ","))...)
}

// answer runs a command on topics and reads its JSON.
func (f *topicsFixture) answer(into any, args ...string) (code int) {
	f.Helper()
	code, out, errOut := f.run(append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		f.Fatalf("exit code %d, %v: %s%s", code, err, out, errOut)
	}
	return code
}

func (f *topicsFixture) produce(client *kgo.Client, records ...*kgo.Record) {
	f.Helper()
	if err := client.ProduceSync(f.Context(), records...).FirstErr(); err != nil {
		f.Fatal(err)
	}
}

// trade is a good record of a symbol, in the partition of its key.
func (f *topicsFixture) trade(id int, symbol string, partitions int32) *kgo.Record {
	return &kgo.Record{
		Topic: f.topic(marketdata.KindTrade), Key: []byte(symbol), Partition: marketdata.Partition([]byte(symbol), partitions),
		Value: fmt.Appendf(nil, `{"exchangeId":%q,"symbol":%q,"tradeId":"%d","time":%d,"price":"65000.10","size":"0.5"}`,
			f.exchange, symbol, id, 1_700_000_000_000+int64(id)),
	}
}

// trades are good records of n symbols.
func (f *topicsFixture) trades(n, symbols int, partitions int32) []*kgo.Record {
	var records []*kgo.Record
	for i := range n {
		records = append(records, f.trade(i, fmt.Sprintf("S%d-USD", i%symbols), partitions))
	}
	return records
}

// TestTopicsCreate: a topic is made with the settings of its kind, once; one
// that is there is not changed, and said to differ where it does.
func TestTopicsCreate(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		trades, bars := f.topic(marketdata.KindTrade), f.topic(marketdata.KindOHLCV)
		named := []string{"create", "--kind", "trade,ohlcv", "--exchange", strings.ToUpper(f.exchange)}
		var answer struct{ Topics []createdTopic }
		if code := f.answer(&answer, append(named, "--dry-run")...); code != 0 || len(answer.Topics) != 2 || answer.Topics[0].Result != topicWouldMake {
			f.Errorf("a dry run: exit code %d, %+v", code, answer)
		}
		if there, err := f.admin.ListTopics(f.Context(), trades); err != nil || there.Has(trades) {
			f.Fatalf("a dry run made the topic: %v, %v", there, err)
		}
		code, out, errOut := f.run(named...)
		if code != 0 || !strings.Contains(out, trades+": made: partitions=12 replication=1 retention.ms=604800000 compression.type=lz4 cleanup.policy=delete\n") {
			f.Fatalf("exit code %d: %s%s", code, out, errOut)
		}
		configs, err := f.admin.DescribeTopicConfigs(f.Context(), bars)
		if err != nil {
			f.Fatal(err)
		}
		for _, c := range configs[0].Configs {
			if want, ok := publish.DefaultTopicSettings(marketdata.KindOHLCV).Configs()[c.Key]; ok && c.MaybeValue() != want {
				f.Errorf("%s is %s, want %s", c.Key, c.MaybeValue(), want)
			}
		}
		code, out, errOut = f.run(append(named, trades)...)
		if code != 0 || strings.Count(out, topicExists) != 2 {
			f.Errorf("a second time: exit code %d: %s%s", code, out, errOut)
		}

		// Other settings by flags, then those of the kind, which differ.
		level1 := f.topic(marketdata.KindLevel1)
		code, out, errOut = f.run("create", level1, "--partitions", "2", "--retention", "1d")
		if code != 0 || !strings.Contains(out, "made: partitions=2 replication=1 retention.ms=86400000") {
			f.Errorf("with flags: exit code %d: %s%s", code, out, errOut)
		}
		if code := f.answer(&answer, "create", level1); code != 1 || answer.Topics[0].Result != topicDiffers ||
			!slices.EqualFunc(answer.Topics[0].Differences, []string{"partitions", "retention.ms"}, func(d settingDifference, s string) bool { return d.Setting == s }) {
			f.Errorf("a topic that differs: exit code %d, %+v", code, answer)
		}
		if topics, err := f.admin.ListTopics(f.Context(), level1); err != nil || len(topics[level1].Partitions) != 2 {
			f.Errorf("the topic was changed: %+v, %v", topics, err)
		}
	})
}

// TestTopicsCreateRefuses what would store nothing or cannot be, before anything
// is made.
func TestTopicsCreateRefuses(t *testing.T) {
	t.Parallel()
	f := newTopicsFixture(t, testenv.Broker(t))
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"crypto-trade-binance"}, "did you mean crypto-trades-binance?"},
		{[]string{"crypto_trades_binance"}, "did you mean crypto-trades-binance?"},
		{[]string{"trades-binance"}, "did you mean crypto-trades-binance?"},
		{[]string{"binance-ohlcv"}, "did you mean crypto-ohlcv-binance?"},
		{[]string{"crypto-price"}, "did you mean crypto-prices?"},
		{[]string{"crypto-trades-Binance"}, "did you mean crypto-trades-binance?"},
		{[]string{"orders"}, "crypto-liquidations, crypto-book, each also with -EXCHANGE"},
		{[]string{"crypto-trades-a b"}, "letters, digits"},
		{nil, "name the topics to make"},
		{[]string{"--kind", "trade"}, "--exchange: name the exchanges, or give --layout topic-per-kind"},
		{[]string{"--kind", "trades", "--exchange", "a"}, "--kind: \"trades\" is no kind"},
		{[]string{"--kind", "trade", "--layout", "exchange"}, "--layout: \"exchange\" is refused: the exchange alone is a poor key"},
		{[]string{"--kind", "trade", "--exchange", "a", "--layout", "topic-per-kind"}, "--exchange: the one topic of a kind"},
		{[]string{"crypto-trades-a", "--partitions", "0"}, "--partitions: 0 is outside 1..10000"},
		{[]string{"crypto-trades-a", "--replication", "3"}, "--replication: 3 is more than the cluster has brokers, which is 1"},
		{[]string{"crypto-trades-a", "--retention", "week"}, "--retention: \"week\" is neither"},
		{[]string{"crypto-trades-a", "--retention", "-1h"}, "--retention: \"-1h\" is neither"},
		{[]string{"crypto-trades-a", "-c", "connector.yaml"}, "--brokers: --config names brokers, too"},
	} {
		args := []string{"create"}
		if tt.args != nil {
			args = append(args, append([]string{"crypto-trades-good"}, tt.args...)...)
		}
		code, out, errOut := f.run(args...)
		if code != 1 || out != "" || !strings.Contains(errOut, tt.want) {
			t.Errorf("%v: exit code %d, %s%s; want %s", tt.args, code, out, errOut, tt.want)
		}
	}
	if topics, err := f.admin.ListTopics(t.Context()); err != nil || len(topics) > 0 {
		t.Errorf("made %v, %v", topics.Names(), err)
	}
	code, out, errOut := f.run("create", "--kind", "trade,price", "--layout", "topic-per-kind", "--retention", "forever")
	if code != 0 || !strings.Contains(out, "crypto-trades: made") || !strings.Contains(out, "crypto-prices: made") || !strings.Contains(out, "retention.ms=-1") {
		t.Errorf("one topic for each kind: exit code %d, %s%s", code, out, errOut)
	}
}

// TestTopicsList: numbers, and a mark where settings differ.
func TestTopicsList(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		f.create(f.topic(marketdata.KindTrade), 12, nil)
		f.create(f.topic(marketdata.KindOHLCV), 1, map[string]string{"cleanup.policy": "compact"})
		// Its name begins as that of the test's other topics, so that it is deleted.
		f.create(f.exchange, 1, nil)
		f.produce(f.client, f.trades(30, 10, 12)...)
		var answer struct{ Topics []topicLine }
		find := func(topic string) *topicLine {
			i := slices.IndexFunc(answer.Topics, func(l topicLine) bool { return l.Topic == topic })
			if i < 0 {
				return nil
			}
			return &answer.Topics[i]
		}
		if code := f.answer(&answer, "list"); code != 0 || find(f.exchange) != nil {
			f.Fatalf("exit code %d, %+v", code, answer)
		}
		l := find(f.topic(marketdata.KindTrade))
		if l == nil || l.Kind != "trade" || l.Exchange != f.exchange || l.Partitions != 12 || l.Replicas != 1 || l.Records == nil || *l.Records != 30 ||
			l.Bytes == nil || *l.Bytes <= 0 || l.RetentionMs != "604800000" || l.Cleanup != "delete" || len(l.Differences) > 0 {
			f.Errorf("the trades are %+v", l)
		}
		if l := find(f.topic(marketdata.KindOHLCV)); l == nil || len(l.Differences) != 2 || l.Differences[0].Setting != "partitions" || l.Differences[1].Why == "" {
			f.Errorf("the bars are %+v", l)
		}
		if code := f.answer(&answer, "list", "--all"); code != 0 || find(f.exchange) == nil || find(f.exchange).Kind != "" {
			f.Errorf("--all: exit code %d, %+v", code, answer)
		}
		code, out, errOut := f.run("list")
		for _, want := range []string{"topic ", "12          1         30", "7d", "partitions, cleanup.policy\n", "connector topics plan says what to do"} {
			if code != 0 || !strings.Contains(out, want) {
				f.Errorf("exit code %d, the list is\n%s%s\nwithout %q", code, out, errOut, want)
			}
		}
	})
}

// TestTopicsDescribe: partitions, the newest record behind a transaction's
// marker, the groups of connectors and no others, and an unknown topic.
func TestTopicsDescribe(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		topic := f.topic(marketdata.KindTrade)
		f.create(topic, 2, map[string]string{"retention.ms": "3600000"})
		newest := time.Now().UTC().Truncate(time.Millisecond)
		records := f.trades(10, 5, 2)
		for _, r := range records {
			r.Timestamp = newest.Add(-time.Hour)
		}
		records[3].Timestamp = newest
		f.transaction(kgo.TryCommit, records...)
		f.transaction(kgo.TryAbort, f.trade(100, "S1-USD", 2))
		group := "connect-a-market-" + topic
		for _, g := range []string{group, f.exchange + "-other", "connect-market-" + topic + "-other"} {
			var commit kadm.Offsets
			commit.AddOffset(topic, records[3].Partition, 2, -1)
			if _, err := f.admin.CommitOffsets(f.Context(), g, commit); err != nil {
				f.Fatal(err)
			}
		}
		var answer struct{ Topics []describedTopic }
		if code := f.answer(&answer, "describe", topic, topic); code != 0 || len(answer.Topics) != 1 {
			f.Fatalf("exit code %d, %+v", code, answer)
		}
		d := answer.Topics[0]
		if d.NewestTime == nil || !d.NewestTime.Equal(newest) || len(d.Untold) > 0 || d.Settings["retention.ms"] != "3600000" {
			f.Errorf("the newest record is of %v, want %v: %+v", d.NewestTime, newest, d)
		}
		if len(d.Differences) != 2 || d.Differences[1].Setting != "retention.ms" || !strings.Contains(d.Differences[1].Why, "replay") {
			f.Errorf("the differences are %+v", d.Differences)
		}
		var sum int64
		for _, p := range d.Partitions {
			sum += *p.Records
			if p.Leader < 0 || p.InSync != 1 || p.Problem != "" {
				f.Errorf("a partition is %+v", p)
			}
		}
		// The offsets hold the markers of the transactions, too.
		if len(d.Partitions) != 2 || sum < 13 || d.Records == nil || *d.Records != sum {
			f.Errorf("the partitions are %+v", d.Partitions)
		}
		if len(d.Groups) != 1 || d.Groups[0].Group != group || d.Groups[0].Connector != "a-market" || d.Groups[0].Lag == nil || *d.Groups[0].Lag != sum-2 {
			f.Errorf("the groups are %+v", d.Groups)
		}
		code, out, errOut := f.run("describe", topic)
		for _, want := range []string{"trade of " + f.exchange + ", 2 partitions, 1 replica\n", "3600000 (1h0m0s)  want 604800000: records may be deleted", "connector  group", "partitions is 2, want 12"} {
			if code != 0 || !strings.Contains(out, want) {
				f.Errorf("exit code %d, it says\n%s%s\nwithout %q", code, out, errOut, want)
			}
		}
		typo := strings.Replace(topic, "trades", "trade", 1)
		code, out, errOut = f.run("describe", typo, topic)
		if want := "there is no topic " + typo + "; did you mean " + topic + "?"; code != 1 || !strings.Contains(errOut, want) || !strings.Contains(out, topic) {
			f.Errorf("exit code %d, %s%s; want %s", code, out, errOut, want)
		}
	})
}

// transaction writes records and ends the transaction.
func (f *topicsFixture) transaction(end kgo.TransactionEndTry, records ...*kgo.Record) {
	f.Helper()
	client := f.newClient(kgo.TransactionalID(f.exchange + "-producer"))
	defer client.Close()
	if err := client.BeginTransaction(); err != nil {
		f.Fatal(err)
	}
	f.produce(client, records...)
	if err := client.EndTransaction(f.Context(), end); err != nil {
		f.Fatal(err)
	}
}

// TestTopicsConfig: the brokers come from a file, also of a connector that could
// not run; its group's prefix tells its groups.
func TestTopicsConfig(t *testing.T) {
	t.Parallel()
	f := newTopicsFixture(t, testenv.Broker(t))
	topic := f.topic(marketdata.KindTrade)
	f.create(topic, 12, nil)
	var commit kadm.Offsets
	commit.AddOffset(topic, 0, 0, -1)
	if _, err := f.admin.CommitOffsets(t.Context(), "mine."+topic, commit); err != nil {
		t.Fatal(err)
	}
	path := writeConfig(t, `
bootstrap.servers: `+f.brokers[0]+`
connectors:
  market:
    connector.class: timescale-sink
    topics.regex: ^crypto-.+$
    group.prefix: mine.
`)
	code, out, errOut := command(t, "topics", "describe", topic, "-c", path)
	if code != 0 || !strings.Contains(out, "market     mine."+topic) {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	code, _, errOut = command(t, "topics", "list", "-c", writeConfig(t, "bootstrap.server: x:1\nconnectors: {}\n"))
	if code != 1 || !strings.Contains(errOut, "did you mean bootstrap.servers?") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
	code, _, errOut = command(t, "topics", "list", "-c", "/nowhere/connector.yaml")
	if code != 1 || !strings.Contains(errOut, "/nowhere/connector.yaml") {
		t.Errorf("exit code %d, %s", code, errOut)
	}
}

// TestTopicsBrokersAway: a bounded wait and a message that says where to look.
func TestTopicsBrokersAway(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, tt := range []struct{ broker, want string }{
		{silent.Addr().String(), "did not answer within 1s (--timeout)"},
		{"127.0.0.1:1", "127.0.0.1:1"},
		{"nonsense", "--brokers: \"nonsense\" is not host:port"},
	} {
		for _, verb := range [][]string{{"list"}, {"describe", "t"}, {"create", "crypto-trades-a"}, {"plan"}} {
			begun := time.Now()
			code, out, errOut := command(t, append([]string{"topics"}, append(verb, "--brokers", tt.broker, "--timeout", "1s")...)...)
			if code != 1 || out != "" || !strings.Contains(errOut, tt.want) || !strings.Contains(errOut, tt.broker) {
				t.Errorf("%v at %s: exit code %d, %s%s", verb, tt.broker, code, out, errOut)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("%v at %s took %s", verb, tt.broker, took)
			}
		}
	}
}

// TestTopicsNotAuthorized: the right that is lacking is named, never the
// password; what can be told is told.
func TestTopicsNotAuthorized(t *testing.T) {
	t.Parallel()
	broker, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{Users: []devstack.BrokerUser{
		{Mechanism: "PLAIN", Name: "root", Password: "r"}, {Mechanism: "PLAIN", Name: "reader", Password: "hunter2", Restricted: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	f := newTopicsFixture(t, broker.Brokers(), kgo.SASL(plain.Auth{User: "root", Pass: "r"}.AsMechanism()))
	topic := f.topic(marketdata.KindTrade)
	f.create(topic, 12, nil)
	f.produce(f.client, f.trades(30, 10, 12)...)
	as := func(password string) string {
		return writeConfig(t, `
bootstrap.servers: `+f.brokers[0]+`
security.protocol: SASL_PLAINTEXT
sasl.mechanism: PLAIN
sasl.username: reader
sasl.password: `+password+`
connectors:
  market: {connector.class: timescale-sink, topics: `+topic+`}
`)
	}
	expect := func(path string, code int, want string, args ...string) {
		t.Helper()
		got, out, errOut := command(t, append([]string{"topics"}, append(args, "-c", path)...)...)
		if got != code || !strings.Contains(out+errOut, want) || strings.Contains(out+errOut, "hunter") {
			t.Errorf("%v: exit code %d, %s%s; want %d and %s", args, got, out, errOut, code, want)
		}
	}
	expect(as("hunter3"), 1, "not take this user and password", "list", "--timeout", "5s")
	config := as("hunter2")
	expect(config, 1, "allow DESCRIBE on topic "+topic, "describe", topic)
	expect(config, 1, "allow DESCRIBE on topic "+topic, "plan", topic)
	expect(config, 1, "allow DESCRIBE, CREATE on topic "+f.topic(marketdata.KindPrice), "create", f.topic(marketdata.KindPrice))

	allow := func(op kmsg.ACLOperation) {
		t.Helper()
		acl := kadm.NewACLs().Topics(topic).Allow("User:reader").AllowHosts().Operations(op).ResourcePatternType(kadm.ACLPatternLiteral)
		if _, err := f.admin.CreateACLs(t.Context(), acl); err != nil {
			t.Fatal(err)
		}
	}
	allow(kmsg.ACLOperationDescribe)
	expect(config, 0, topic, "list")
	expect(config, 0, "allow DESCRIBE_CONFIGS on topic "+topic, "describe", topic)
	expect(config, 1, "allow READ, DESCRIBE on topic "+topic, "plan", topic)
	allow(kmsg.ACLOperationRead)
	allow(kmsg.ACLOperationDescribeConfigs)
	expect(config, 0, "Nothing needs doing.", "plan", topic)
}
