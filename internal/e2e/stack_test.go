package e2e

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
)

// stack is what one test owns: topics on a broker, a schema in a database, a
// connector's name, and the journal of all that was produced.
type stack struct {
	t         testing.TB
	brokers   []string
	url       string // of the database, as replicas reach it
	schema    string
	id        string // in the name of every topic, and the connector's
	connector string
	settings  map[string]string // of the connector, on top of the defaults here
	process   map[string]string // keys of the process, likewise
	client    *kgo.Client
	admin     *kadm.Client
	db        *pgxpool.Pool
	topics    []string
	// replication is how many brokers have each of its topics.
	replication int16
	journal     *journal
	watching    *atomic.Pointer[watch] // nil: nobody looks when records become visible
}

// eachBroker runs a test over the in-process broker and over Apache Kafka.
func eachBroker(t *testing.T, test func(t *testing.T, brokers []string)) {
	t.Helper()
	t.Run("kfake", func(t *testing.T) { test(t, testenv.Broker(t)) })
	t.Run("kafka", func(t *testing.T) { test(t, testenv.Kafka(t)) })
}

// newStack makes a stack in a schema of the shared database.
func newStack(t testing.TB, brokers []string) *stack {
	t.Helper()
	url, schema := testenv.Schema(t)
	return newStackAt(t, brokers, url, schema)
}

// newStackAt makes a stack in a schema of the database at url, which need not
// answer yet.
func newStackAt(t testing.TB, brokers []string, url, schema string) *stack {
	t.Helper()
	id := "e2e" + strings.ToLower(rand.Text()[:10])
	s := &stack{
		t: t, brokers: brokers, url: url, schema: schema, id: id, connector: "c-" + id,
		settings: map[string]string{}, process: map[string]string{}, journal: newJournal(), watching: new(atomic.Pointer[watch]), replication: 1,
	}
	var err error
	s.client, err = kgo.NewClient(kgo.SeedBrokers(brokers...),
		kgo.ProducerBatchCompression(kgo.Lz4Compression()),
		kgo.ProducerBatchMaxBytes(2<<20),
		kgo.UnknownTopicRetries(-1),
		kgo.MetadataMinAge(100*time.Millisecond),
		kgo.MaxBufferedRecords(100_000))
	if err != nil {
		t.Fatal(err)
	}
	s.admin = kadm.NewClient(s.client)
	if s.db, err = pgxpool.New(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.removeTopics()
		s.client.Close()
		s.db.Close()
	})
	return s
}

// removeTopics cleans up on a shared broker: topics and groups of this stack.
func (s *stack) removeTopics() {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	topics, err := s.admin.ListTopics(ctx)
	if err != nil {
		return // the test's own broker, and it is gone
	}
	var names []string
	for _, name := range topics.Names() {
		if strings.Contains(name, s.id) {
			names = append(names, name)
		}
	}
	if len(names) > 0 {
		if _, err := s.admin.DeleteTopics(ctx, names...); err != nil {
			s.t.Logf("deleting the test's topics: %v", err)
		}
	}
}

// createTopic makes a topic of a kind for an exchange of this stack, and returns
// its name.
func (s *stack) createTopic(kind marketdata.Kind, exchange string, partitions int32) string {
	s.t.Helper()
	topic := marketdata.TopicName(kind, s.exchange(exchange))
	s.createNamed(topic, partitions, nil)
	return topic
}

func (s *stack) createNamed(topic string, partitions int32, configs map[string]*string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	if _, err := s.admin.CreateTopic(ctx, partitions, s.replication, configs, topic); err != nil {
		s.t.Fatalf("making topic %s: %v", topic, err)
	}
	s.topics = append(s.topics, topic)
}

// exchange is the name of an exchange that only this stack has.
func (s *stack) exchange(name string) string { return s.id + "-" + name }

// config writes a configuration file for one replica. more holds further keys
// of the connector; extra is added to the list of connectors as it is.
func (s *stack) config(id string, more map[string]string, extra string) string {
	s.t.Helper()
	process := map[string]string{
		"bootstrap.servers":  strings.Join(s.brokers, ","),
		"listeners":          "http://127.0.0.1:0",
		"group.instance.id":  id,
		"session.timeout.ms": "6000", // Kafka's least
		// The test's own, like all else.
		"config.storage.topic": s.id + "-configs",
		"status.storage.topic": s.id + "-status",
	}
	maps.Copy(process, s.process)
	return writeFile(s.t, "connector.yaml", yamlKeys(s.t, "", process)+"connectors:\n"+s.section(more)+extra)
}

// section is the stack's connector in the list of a configuration file.
func (s *stack) section(more map[string]string) string {
	s.t.Helper()
	keys := s.keys()
	maps.Copy(keys, more)
	return fmt.Sprintf("  %s:\n", s.connector) + yamlKeys(s.t, "    ", keys)
}

// keys are the stack's connector's.
func (s *stack) keys() map[string]string {
	keys := map[string]string{
		"connector.class":      "timescale-sink",
		"topics.regex":         "crypto-[a-z0-9-]+-" + s.id + "-.+",
		"connection.url":       s.url,
		"schema.name":          s.schema,
		"metadata.max.age.ms":  "500",
		"lag.interval.ms":      "200",
		"retry.backoff.max.ms": "1000",
		"failed.retry.ms":      "1000",
		"ledger.check.ms":      "1000",
	}
	maps.Copy(keys, s.settings)
	return keys
}

func yamlKeys(t testing.TB, indent string, keys map[string]string) string {
	t.Helper()
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		value, err := json.Marshal(keys[key])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&text, "%s%s: %s\n", indent, key, value)
	}
	return text.String()
}

// start starts a replica with a name of its own.
func (s *stack) start(id string) *replica {
	s.t.Helper()
	return startReplica(s.t, id, s.config(id, nil, ""))
}

// exec runs SQL on the database, directly.
func (s *stack) exec(sql string, args ...any) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	if _, err := s.db.Exec(ctx, sql, args...); err != nil {
		s.t.Fatalf("%s: %v", sql, err)
	}
}

// table is the quoted name of a table in the stack's schema.
func (s *stack) table(name string) string { return fmt.Sprintf("%q.%q", s.schema, name) }
