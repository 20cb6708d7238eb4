package testenv

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack"
)

// sharedKafka is started or checked once; its error is every test's.
type sharedKafka struct {
	once    sync.Once
	own     *devstack.Kafka // nil where the variable names one
	brokers []string
	err     error
	opened  atomic.Bool
}

var kafka sharedKafka

func (s *sharedKafka) open() ([]string, error) {
	s.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), startLimit)
		defer cancel()
		if brokers := os.Getenv(KafkaBrokers); brokers != "" {
			s.brokers = strings.Split(brokers, ",")
			s.err = checkKafka(ctx, s.brokers, os.Getenv(KafkaID))
		} else if s.own, s.err = devstack.StartKafka(ctx, devstack.KafkaOptions{}); s.err == nil {
			s.brokers = s.own.Brokers()
		}
		s.opened.Store(s.err == nil)
	})
	return s.brokers, s.err
}

func (s *sharedKafka) close() error {
	if s.own == nil {
		return nil
	}
	return s.own.Close()
}

// checkKafka makes sure that the cluster is the one meant before a test writes
// to it.
func checkKafka(ctx context.Context, brokers []string, id string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return fmt.Errorf("%s: %w", KafkaBrokers, err)
	}
	defer client.Close()
	meta, err := kadm.NewClient(client).BrokerMetadata(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", KafkaBrokers, err)
	}
	if id != "" && meta.Cluster != id {
		return fmt.Errorf("%s: the cluster's id is %s, want %s (%s): another cluster answers", KafkaBrokers, meta.Cluster, id, KafkaID)
	}
	return nil
}

// Kafka returns the bootstrap servers of the shared Apache Kafka. A test uses
// only topics and groups whose names come from Topic there.
func Kafka(t testing.TB) []string {
	t.Helper()
	brokers, err := kafka.open()
	Need(t, err)
	return brokers
}

// Topic returns a name for a topic that no other test uses, and for groups and
// further topics that begin with it. It makes nothing. Topics of the shared Kafka
// whose names begin with it are deleted after the test.
func Topic(t testing.TB) string {
	t.Helper()
	name := uniqueName(t, "-")
	t.Cleanup(func() {
		if !kafka.opened.Load() {
			return
		}
		if err := deleteTopics(kafka.brokers, name); err != nil {
			t.Errorf("deleting the test's topics: %v", err)
		}
	})
	return name
}

func deleteTopics(brokers []string, prefix string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	topics, err := admin.ListTopics(ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, name := range topics.Names() {
		if strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	answers, err := admin.DeleteTopics(ctx, names...)
	if err != nil {
		return err
	}
	return answers.Error()
}

// OwnKafka starts an Apache Kafka that belongs to the test, which may kill it.
// It takes seconds to start and 400 MB of memory: share where the test allows it.
func OwnKafka(t testing.TB) *devstack.Kafka {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startLimit)
	defer cancel()
	k, err := devstack.StartKafka(ctx, devstack.KafkaOptions{})
	Need(t, err)
	t.Cleanup(func() {
		if err := k.Close(); err != nil {
			t.Errorf("closing the test's Kafka: %v", err)
		}
	})
	return k
}

// Broker starts an in-process broker, in memory, that belongs to the test.
func Broker(t testing.TB) []string {
	t.Helper()
	b, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{})
	Need(t, err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("closing the test's broker: %v", err)
		}
	})
	return b.Brokers()
}
