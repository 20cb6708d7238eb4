package publish

import (
	"errors"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
)

func (f *fixture) newAdmin() *Admin {
	f.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(f.brokers...))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(client.Close)
	return NewAdmin(client)
}

// TestCanCreate: the brokers say whether they would make a topic, and make none.
func TestCanCreate(t *testing.T) {
	onBoth(t, func(t *testing.T, f *fixture) {
		a, topic := f.newAdmin(), f.topic(marketdata.KindTrade)
		settings := DefaultTopicSettings(marketdata.KindTrade)
		if err := a.CanCreate(f.ctx(), topic, settings); err != nil {
			t.Fatal(err)
		}
		if topics, err := a.Describe(f.ctx(), topic); err != nil || !errors.Is(topics[0].Err, kerr.UnknownTopicOrPartition) {
			t.Fatalf("the topic was made: %+v, %v", topics, err)
		}
		bad := settings
		bad.Partitions = 0
		if err := a.CanCreate(f.ctx(), topic, bad); !errors.Is(err, kerr.InvalidPartitions) {
			t.Errorf("without partitions: %v", err)
		}
		if err := a.Create(f.ctx(), topic, settings); err != nil {
			t.Fatal(err)
		}
		if err := a.CanCreate(f.ctx(), topic, settings); !errors.Is(err, kerr.TopicAlreadyExists) {
			t.Errorf("a topic that is there: %v", err)
		}
	})
}

// TestListAll: topics of any name, with where their partitions lie; List only
// those of market data.
func TestListAll(t *testing.T) {
	t.Parallel()
	f := newFixture(t, testenv.Broker(t))
	a := f.newAdmin()
	want := []string{"crypto-trades-x", "orders"}
	if answers, err := f.admin.CreateTopics(f.ctx(), 3, 1, nil, want...); err != nil || answers.Error() != nil {
		t.Fatal(err, answers.Error())
	}
	topics, err := a.ListAll(f.ctx())
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, topic := range topics {
		names = append(names, topic.Name)
		for i, p := range topic.Layout {
			if int(p.ID) != i || p.Leader < 0 || p.Replicas != 1 || p.InSync != 1 {
				t.Errorf("%s: a partition is %+v", topic.Name, p)
			}
		}
		if len(topic.Layout) != 3 {
			t.Errorf("%s has %d partitions", topic.Name, len(topic.Layout))
		}
	}
	if !slices.Equal(names, want) {
		t.Errorf("the topics are %v, want %v", names, want)
	}
	if topics, err := a.List(f.ctx()); err != nil || len(topics) != 1 || topics[0].Name != "crypto-trades-x" {
		t.Errorf("the topics of market data are %+v, %v", topics, err)
	}
}
