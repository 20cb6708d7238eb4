package testenv

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack"
)

func TestMain(m *testing.M) { Main(m) }

func schemaExists(t *testing.T, url, schema string) bool {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	var exists bool
	if err := conn.QueryRow(t.Context(), "SELECT EXISTS (SELECT FROM pg_namespace WHERE nspname = $1)", schema).Scan(&exists); err != nil {
		t.Fatal(err)
	}
	return exists
}

func TestSchemaBelongsToOneTest(t *testing.T) {
	t.Parallel()
	var url string
	var schemas []string
	t.Run("a subtest with a name that is much longer than any identifier of PostgreSQL may be", func(t *testing.T) {
		for range 2 {
			var schema string
			url, schema = Schema(t)
			schemas = append(schemas, schema)
			if !schemaExists(t, url, schema) {
				t.Errorf("schema %s does not exist", schema)
			}
			if err := execute(url, fmt.Sprintf("CREATE TABLE %s.n (time timestamptz NOT NULL)", schema),
				fmt.Sprintf("SELECT create_hypertable('%s.n', by_range('time'))", schema),
				fmt.Sprintf("INSERT INTO %s.n SELECT now() + d * interval '7 days' FROM generate_series(1, 20) d", schema)); err != nil {
				t.Error(err)
			}
		}
	})
	if url == "" {
		t.Skip("NOT TESTED: no database")
	}
	if schemas[0] == schemas[1] {
		t.Errorf("two calls share the schema %s", schemas[0])
	}
	for _, schema := range schemas {
		if schemaExists(t, url, schema) {
			t.Errorf("schema %s is left after its test", schema)
		}
		if len(schema) > 63 {
			t.Errorf("%s is longer than an identifier", schema)
		}
	}
}

func TestTopicBelongsToOneTest(t *testing.T) {
	t.Parallel()
	brokers := Kafka(t)
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	var topic string
	t.Run("in", func(t *testing.T) {
		topic = Topic(t)
		if !regexp.MustCompile(`^[a-z0-9-]+$`).MatchString(topic) || topic == Topic(t) {
			t.Errorf("%q is not a name of its own", topic)
		}
		answers, err := admin.CreateTopics(t.Context(), 1, 1, nil, topic, topic+"-table")
		if err != nil || answers.Error() != nil {
			t.Fatal(err, answers.Error())
		}
	})
	// The broker learns of a deletion soon after the controller has answered.
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		topics, err := admin.ListTopics(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(topics.Names(), func(name string) bool { return strings.HasPrefix(name, topic) }) {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("topics %s are left after their test", topic)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func TestAnotherServerIsRefused(t *testing.T) {
	t.Parallel()
	url, _ := Schema(t)
	if err := checkDatabase(t.Context(), url, ""); err != nil {
		t.Errorf("without an id: %v", err)
	}
	if err := checkDatabase(t.Context(), url, "1"); err == nil || !strings.Contains(err.Error(), "another server answers") {
		t.Errorf("with another id the error is %v", err)
	}
	brokers := Broker(t)
	if err := checkKafka(t.Context(), brokers, ""); err != nil {
		t.Errorf("without an id: %v", err)
	}
	if err := checkKafka(t.Context(), brokers, "another"); err == nil || !strings.Contains(err.Error(), "another cluster answers") {
		t.Errorf("with another id the error is %v", err)
	}
}

func TestOwnServersAreNotTheShared(t *testing.T) {
	t.Parallel()
	shared, _ := Schema(t)
	db := OwnDatabase(t)
	if db.URL() == shared {
		t.Error("the own database is the shared one")
	}
	if err := db.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := execute(shared, "SELECT 1"); err != nil {
		t.Errorf("killing the own database touched the shared one: %v", err)
	}
	brokers := Kafka(t)
	own := OwnKafka(t)
	if own.Brokers()[0] == brokers[0] {
		t.Error("the own Kafka is the shared one")
	}
}

// outcome runs Need in place of a test and tells how that would end.
func outcome(err error) (result string) {
	r := &recorder{}
	func() {
		defer func() { recover() }() //nolint:errcheck // the recorder's way to end
		Need(r, err)
		r.result = "goes on"
	}()
	return r.result
}

type recorder struct {
	testing.TB
	result string
}

func (r *recorder) Helper()               {}
func (r *recorder) Skipf(string, ...any)  { r.result = "skips"; panic(r) }
func (r *recorder) Fatal(...any)          { r.result = "fails"; panic(r) }
func (r *recorder) Fatalf(string, ...any) { r.result = "fails"; panic(r) }

func TestNeedSkipsOnlyWhereNothingDemands(t *testing.T) {
	unavailable := fmt.Errorf("no java: %w", devstack.ErrUnavailable) // not parallel: sets variables
	for _, test := range []struct {
		ci, require string
		err         error
		want        string
	}{
		{"", "", nil, "goes on"},
		{"", "", unavailable, "skips"},
		{"true", "", unavailable, "fails"},
		{"", "1", unavailable, "fails"},
		{"", "", errors.New("it crashed"), "fails"},
	} {
		t.Setenv("CI", test.ci)
		t.Setenv("TICKCONNECT_REQUIRE", test.require)
		if got := outcome(test.err); got != test.want {
			t.Errorf("CI=%q TICKCONNECT_REQUIRE=%q, error %v: the test %s, want that it %s", test.ci, test.require, test.err, got, test.want)
		}
	}
}
