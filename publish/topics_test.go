package publish

import (
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/marketdata"
)

// TestTopicIsMadeOnce by many that need it at once.
func TestTopicIsMadeOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		p := f.publisher()
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(i)}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if n := strings.Count(f.logged.String(), "made topic"); n != 1 {
			t.Errorf("the topic was made %d times", n)
		}
	})
}

// TestTopicIsNotMade where that is off; the advice makes it.
func TestTopicIsNotMade(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		p := f.publisher(WithoutTopicCreation())
		topic := f.topic(marketdata.KindTrade)
		_, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)})
		if !errors.Is(err, ErrNoTopic) || !strings.Contains(err.Error(), "connector topics create "+topic) {
			t.Fatalf("%v", err)
		}
		if err := p.Admin().Create(f.ctx(), topic, DefaultTopicSettings(marketdata.KindTrade)); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Admin().Await(f.ctx(), topic); err != nil {
			t.Fatal(err)
		}
		if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)}); err != nil {
			t.Errorf("once the topic is there: %v", err)
		}
	})
}

// TestOtherSettingsAreReported and not changed.
func TestOtherSettingsAreReported(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		topic := f.topic(marketdata.KindTrade)
		configs := map[string]*string{"cleanup.policy": kadm.StringPtr("compact"), "retention.ms": kadm.StringPtr("1000")}
		if _, err := f.admin.CreateTopic(f.ctx(), 3, 1, configs, topic); err != nil {
			t.Fatal(err)
		}
		var told atomic.Int64
		var settings []string
		p := f.publisher(WithHooks(Hooks{TopicDiffers: func(name string, differences []Difference) {
			told.Add(1)
			for _, d := range differences {
				settings = append(settings, d.Setting)
			}
		}}))
		for i := range 3 {
			if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(i)}); err != nil {
				t.Fatal(err)
			}
		}
		if want := []string{"partitions", "cleanup.policy", "retention.ms"}; told.Load() != 1 || !slices.Equal(settings, want) {
			t.Errorf("told %d times of %v, want once of %v", told.Load(), settings, want)
		}
		if log := f.logged.String(); !strings.Contains(log, "cleanup.policy is=compact want=delete") {
			t.Errorf("the log says %s", log)
		}
		topics, err := p.Admin().Describe(f.ctx(), topic)
		if err != nil || topics[0].Configs["cleanup.policy"] != "compact" || topics[0].Partitions != 3 {
			t.Errorf("the topic is %+v, %v", topics, err)
		}
	})
}

// TestTopicDeletedWhileProducing: the records that meet it say so, or come into
// the new one; the next ones do.
func TestTopicDeletedWhileProducing(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		p := f.publisher()
		topic := f.topic(marketdata.KindTrade)
		if _, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)}); err != nil {
			t.Fatal(err)
		}
		if _, err := f.admin.DeleteTopic(f.ctx(), topic); err != nil {
			t.Fatal(err)
		}
		// Until a broker has heard of it, it takes records into the grave.
		for ctx := f.ctx(); ; {
			topics, err := p.Admin().Describe(ctx, topic)
			if err != nil {
				t.Fatal(err)
			}
			if errors.Is(topics[0].Err, kerr.UnknownTopicOrPartition) {
				break
			}
		}
		for i := 1; ; i++ {
			results, err := p.PublishTrades(f.ctx(), []marketdata.Trade{f.trade(i)})
			if err == nil {
				if n := f.end(topic); n != 1 {
					t.Errorf("the new topic holds %d records", n)
				}
				return
			}
			if !errors.Is(err, ErrNoTopic) && !errors.Is(err, ErrUnavailable) || f.ctx().Err() != nil {
				t.Fatalf("%v: %+v", err, results)
			}
			t.Logf("record %d: %v", i, err)
		}
	})
}

// TestNotAuthorized: a wrong password, and a user who may not write, are told
// apart from an outage.
func TestNotAuthorized(t *testing.T) {
	t.Parallel()
	broker, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{Users: []devstack.BrokerUser{
		{Mechanism: "PLAIN", Name: "root", Password: "r"}, {Mechanism: "PLAIN", Name: "reader", Password: "r", Restricted: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = broker.Close() })
	as := func(user, password string) kgo.Opt {
		return kgo.SASL(plain.Auth{User: user, Pass: password}.AsMechanism())
	}
	f := newFixture(t, broker.Brokers(), as("root", "r"))
	trades := []marketdata.Trade{f.trade(0)}
	if _, err := f.publisher(WithClientOptions(as("root", "wrong"))).PublishTrades(f.ctx(), trades); err == nil || !strings.Contains(err.Error(), "user and password") {
		t.Errorf("a wrong password gives %v", err) // this broker hangs up; Kafka says why
	}
	if err := adminError("t", kerr.SaslAuthenticationFailed); !errors.Is(err, ErrNotAuthorized) {
		t.Errorf("a wrong password gives %v", err)
	}
	reader := f.publisher(WithClientOptions(as("reader", "r")))
	if _, err := reader.PublishTrades(f.ctx(), trades); !errors.Is(err, ErrNotAuthorized) || !strings.Contains(err.Error(), "CREATE") {
		t.Errorf("a user who may do nothing gets %v", err)
	}
	topic := f.topic(marketdata.KindTrade)
	if _, err := f.publisher(WithClientOptions(as("root", "r"))).PublishTrades(f.ctx(), trades); err != nil {
		t.Fatal(err)
	}
	acl := kadm.NewACLs().Topics(topic).Allow("User:reader").AllowHosts().Operations(kmsg.ACLOperationDescribe).ResourcePatternType(kadm.ACLPatternLiteral)
	if _, err := f.admin.CreateACLs(f.ctx(), acl); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.PublishTrades(f.ctx(), trades); !errors.Is(err, ErrNotAuthorized) || !strings.Contains(err.Error(), "WRITE") {
		t.Errorf("a user who may not write gets %v", err)
	}
	if n := f.end(topic); n != 1 {
		t.Errorf("the log holds %d records", n)
	}
}

// TestReplicas: as many as the cluster allows, up to three.
func TestReplicas(t *testing.T) {
	t.Parallel()
	for brokers, want := range map[int]int16{1: 1, 2: 2, 4: 3} {
		b, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{Brokers: brokers})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = b.Close() })
		f := newFixture(t, b.Brokers())
		if _, err := f.publisher().PublishTrades(f.ctx(), []marketdata.Trade{f.trade(0)}); err != nil {
			t.Fatal(err)
		}
		topics, err := f.publisher().Admin().List(f.ctx())
		if err != nil || len(topics) != 1 || topics[0].Replication != want {
			t.Errorf("%d brokers: %+v, %v; want %d replicas", brokers, topics, err, want)
		}
	}
}

// TestDifferences matter or do not.
func TestDifferences(t *testing.T) {
	t.Parallel()
	want := DefaultTopicSettings(marketdata.KindTrade)
	good := Topic{Partitions: 12, Replication: 1, Configs: want.Configs()}
	for name, one := range map[string]struct {
		change func(*Topic)
		differ string
	}{
		"as it should be":       {func(*Topic) {}, ""},
		"more of all":           {func(t *Topic) { t.Partitions, t.Configs["retention.ms"] = 48, "999999999999" }, ""},
		"kept for ever":         {func(t *Topic) { t.Configs["retention.ms"] = "-1" }, ""},
		"producer's codec":      {func(t *Topic) { t.Configs["compression.type"] = "producer" }, ""},
		"another codec":         {func(t *Topic) { t.Configs["compression.type"] = "gzip" }, "compression.type"},
		"fewer partitions":      {func(t *Topic) { t.Partitions = 1 }, "partitions"},
		"compacted and deleted": {func(t *Topic) { t.Configs["cleanup.policy"] = "compact,delete" }, "cleanup.policy"},
		"an hour":               {func(t *Topic) { t.Configs["retention.ms"] = "3600000" }, "retention.ms"},
		"settings unreadable":   {func(t *Topic) { t.Configs = nil }, ""},
	} {
		topic := good
		topic.Configs = want.Configs()
		one.change(&topic)
		differences := want.Differences(topic)
		if one.differ == "" && len(differences) > 0 || one.differ != "" && (len(differences) != 1 || differences[0].Setting != one.differ || differences[0].Why == "") {
			t.Errorf("%s: %+v, want %q", name, differences, one.differ)
		}
	}
}
