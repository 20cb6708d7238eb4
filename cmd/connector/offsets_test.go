package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/qicore/tickconnect/connect"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
)

const resetTopic = "crypto-prices-kraken"

// impatient has a connector look at its ledger, and try again what was refused,
// several times a second.
const impatient = "    ledger.check.ms: 200\n    failed.retry.ms: 300\n"

// rows is a digest of a table, with the origin of each row.
func (s *stack) rows(t *testing.T, table string) (n int, digest string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	name := pgx.Identifier{s.schema, table}.Sanitize()
	err = conn.QueryRow(t.Context(), "SELECT count(*), COALESCE(md5(string_agg(t::text, ';' ORDER BY t::text)), '') FROM "+name+" t").Scan(&n, &digest)
	if err != nil {
		t.Fatal(err)
	}
	return n, digest
}

// audited waits until the ledger has reached the log's end and gives the account.
func audited(t *testing.T, config string) []auditLine {
	t.Helper()
	code, out, errOut := command(t, "audit", "-c", config, "market", "--timeout", "60s", "-o", "json")
	var answer struct{ Connectors []auditConnector }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || code != 0 || len(answer.Connectors) != 1 {
		t.Fatalf("audit: exit code %d, %v: %s%s", code, err, out, errOut)
	}
	return answer.Connectors[0].Lines
}

// reset runs offsets reset for the test's topic.
func reset(t *testing.T, config string, flags ...string) (code int, answer resetAnswer, errOut string) {
	t.Helper()
	args := append([]string{"offsets", "reset", "market", "-c", config, "--topic", resetTopic, "-o", "json"}, flags...)
	code, out, errOut := command(t, args...)
	if out != "" {
		if err := json.Unmarshal([]byte(out), &answer); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
	}
	return code, answer, errOut
}

// TestOffsetsReset: a connector that runs reads again what a reset asks for, and
// nothing in the table changes; what still works for the old generation is
// fenced (promises 2, 4).
func TestOffsetsReset(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, resetTopic, 2)
	config := s.config(t, "^crypto-prices-.+$", impatient)
	for i := range 20 {
		s.produce(t, resetTopic, int32(i%2), price(i))
	}
	startConnector(t, config)
	audited(t, config)
	wantRows, wantDigest := s.rows(t, "crypto_prices")
	if wantRows != 20 {
		t.Fatalf("%d rows, want 20", wantRows)
	}
	zombie := s.zombie(t, connect.TopicPartition{Topic: resetTopic}, 10)

	code, out, errOut := command(t, "offsets", "list", "-c", config)
	for _, want := range []string{"market\n", resetTopic + "/0  0           0          10    10       0    "} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, the list is\n%s%s\nwithout %q", code, out, errOut, want)
		}
	}
	ten := int64(10)
	want := []resetLine{{Partition: 0, From: &ten, Again: 10}, {Partition: 1, From: &ten, Again: 10}}
	for _, tt := range []struct {
		flags []string
		code  int
	}{
		{[]string{"--to", "earliest", "--dry-run"}, 0},
		{[]string{"--to", "earliest", "--dry-run", "--yes"}, 0},
		{[]string{"--to", "0"}, 1},
	} {
		code, a, errOut := reset(t, config, tt.flags...)
		if code != tt.code || a.Done || a.Generation != nil || a.MadeAgain || !slices.EqualFunc(a.Lines, want, equalLines) {
			t.Errorf("%v: exit code %d, %+v, %s", tt.flags, code, a, errOut)
		}
	}
	for _, line := range audited(t, config) {
		if line.Written != 10 || line.Unchanged != 0 {
			t.Errorf("a dry run changed the account: %+v", line)
		}
	}

	code, a, errOut := reset(t, config, "--to", "earliest", "--yes")
	if code != 0 || !a.Done || a.Generation == nil || *a.Generation != 1 || !slices.EqualFunc(a.Lines, want, equalLines) {
		t.Fatalf("exit code %d, %+v, %s", code, a, errOut)
	}
	for _, line := range audited(t, config) {
		if line.Start != 0 || line.Next != 10 || line.Unchanged != 10 || line.Written != 0 {
			t.Errorf("after the reset the account is %+v", line)
		}
	}
	if n, digest := s.rows(t, "crypto_prices"); n != wantRows || digest != wantDigest {
		t.Errorf("%d rows with digest %s, before the reset %d with %s", n, digest, wantRows, wantDigest)
	}
	var fenced *connect.FencedError
	_, err := zombie.Put(t.Context(), &connect.Batch{Parts: []connect.Part{{
		TopicPartition: connect.TopicPartition{Topic: resetTopic}, Start: 10, Next: 11, Absent: 1,
	}}})
	if !errors.As(err, &fenced) || len(fenced.Moved) != 1 {
		t.Errorf("a Put for the old generation gives %v", err)
	}

	// A reset of one partition leaves the other where it stands, and text says so.
	code, out, errOut = command(t, "offsets", "reset", "market", "-c", config, "--topic", resetTopic, "--partition", "1", "--to", "7", "--yes")
	if code != 0 || !strings.Contains(out, "1          10    7   3           0\n") || !strings.Contains(out, "Done: generation 2 is live.") {
		t.Errorf("exit code %d: %s%s", code, out, errOut)
	}
	lines := audited(t, config)
	if lines[0].Start != 10 || lines[1].Start != 7 || lines[1].Unchanged != 3 {
		t.Errorf("after the reset of one partition the account is %+v", lines)
	}
}

// zombie is a task that has opened a partition, as one does that was stopped.
func (s *stack) zombie(t *testing.T, tp connect.TopicPartition, next int64) connect.Sink {
	t.Helper()
	cfg := timescalesink.Default()
	cfg.ConnectionURL, cfg.SchemaName = s.url, s.schema
	c, err := timescalesink.New("market", cfg, connect.Env{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	sink, err := c.NewSink(0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { sink.Close() })
	positions, err := sink.Open(t.Context(), []connect.Claim{{TopicPartition: tp, LogEnd: next}})
	if err != nil || positions[0].Err != nil || positions[0].Next != next {
		t.Fatalf("the zombie stands at %+v, %v", positions, err)
	}
	return sink
}

// TestOffsetsResetTopicMadeAgain: a topic that was made again is refused until a
// reset says that its offsets are new ones; then the connector that runs goes on.
func TestOffsetsResetTopicMadeAgain(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, resetTopic, 2)
	config := s.config(t, "^crypto-prices-.+$", impatient)
	for i := range 10 {
		s.produce(t, resetTopic, int32(i%2), price(i))
	}
	p := startConnector(t, config)
	audited(t, config)
	p.waitHealth(t, http.StatusOK)
	if _, err := kadm.NewClient(s.producer).DeleteTopic(t.Context(), resetTopic); err != nil {
		t.Fatal(err)
	}
	s.createTopic(t, resetTopic, 2)
	s.producer.PurgeTopicsFromClient(resetTopic)
	s.produce(t, resetTopic, 0, price(0), price(100), price(101))
	body := p.waitHealth(t, http.StatusServiceUnavailable)
	if !strings.Contains(body, "the topic was made again") {
		t.Errorf("GET /health says %s", body)
	}

	code, _, errOut := reset(t, config, "--to", "earliest", "--partition", "0", "--dry-run")
	if code != 1 || !strings.Contains(errOut, "was made again, so none of its partitions can go on where it stood; leave out --partition") {
		t.Errorf("a reset of one partition: exit code %d, %s", code, errOut)
	}
	five := int64(5)
	want := []resetLine{{Partition: 0, From: &five}, {Partition: 1, From: &five}}
	code, a, errOut := reset(t, config, "--to", "earliest", "--dry-run")
	if code != 0 || a.Done || !a.MadeAgain || !slices.EqualFunc(a.Lines, want, equalLines) {
		t.Errorf("the dry run: exit code %d, %+v, %s", code, a, errOut)
	}
	code, a, errOut = reset(t, config, "--to", "earliest", "--yes")
	if code != 0 || !a.Done || !a.MadeAgain || !slices.EqualFunc(a.Lines, want, equalLines) {
		t.Fatalf("the reset: exit code %d, %+v, %s", code, a, errOut)
	}
	lines := audited(t, config)
	if lines[0].Next != 3 || lines[0].Written != 3 || lines[1].Next != 0 {
		t.Errorf("the account of the new topic is %+v", lines)
	}
	// The record of price(0) came again in the new topic: its row is of that one now.
	if n, _ := s.rows(t, "crypto_prices"); n != 12 {
		t.Errorf("%d rows, want 12", n)
	}
	if n, _ := s.rows(t, "connector_topics"); n != 2 {
		t.Errorf("%d rows in connector_topics, want one for each making of the topic", n)
	}
	p.waitHealth(t, http.StatusOK)
}

// TestOffsetsResetRefuses: what cannot be meant is said, and nothing is changed.
func TestOffsetsResetRefuses(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, resetTopic, 2)
	config := s.config(t, "^crypto-prices-.+$", "    insert.mode: tape\n")
	s.produce(t, resetTopic, 0, price(0), price(1), price(2))
	startConnector(t, config)
	audited(t, config)
	for _, tt := range []struct {
		flags []string
		want  string
	}{
		{nil, `required flag(s) "to" not set`},
		{[]string{"--to", "yesterday"}, `--to: "yesterday" is neither earliest nor latest`},
		{[]string{"--to", "4"}, "--to: 4 is outside the log of " + resetTopic + "/0, which holds 0..3"},
		{[]string{"--to", "earliest", "--partition", "2"}, "has no partition 2; it has 2 partitions"},
		{[]string{"--to", "earliest", "--topic", "crypto-prices"}, "there is no topic crypto-prices among those that market reads: " + resetTopic},
		{[]string{"--to", "earliest", "--dry-run"}, "is a tape, where going back would store rows twice"},
		{[]string{"--to", "earliest", "--yes"}, "is a tape, where going back would store rows twice"},
	} {
		code, a, errOut := reset(t, config, tt.flags...)
		if code != 1 || a.Done || !strings.Contains(errOut, tt.want) {
			t.Errorf("%v: exit code %d, error %s; want %s", tt.flags, code, errOut, tt.want)
		}
	}
	if lines := audited(t, config); lines[0].Start != 0 || lines[0].Written != 3 {
		t.Errorf("the account is %+v", lines)
	}
	// Forward is not twice.
	code, a, errOut := reset(t, config, "--to", "latest", "--yes")
	if code != 0 || !a.Done {
		t.Errorf("to latest: exit code %d, %+v, %s", code, a, errOut)
	}
}

// TestOffsetsResetReplacesTape: with an index on the origin a tape is replaced
// as it is stored again (promise 4).
func TestOffsetsResetReplacesTape(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	s.createTopic(t, resetTopic, 1)
	config := s.config(t, "^crypto-prices-.+$", impatient+"    insert.mode: tape\n    tape.replay.index: true\n")
	s.produce(t, resetTopic, 0, price(0), price(0), price(1))
	startConnector(t, config)
	audited(t, config)
	_, want := s.rows(t, "crypto_prices")
	if code, a, errOut := reset(t, config, "--to", "earliest", "--yes"); code != 0 || !a.Done {
		t.Fatalf("exit code %d, %+v, %s", code, a, errOut)
	}
	if lines := audited(t, config); lines[0].Start != 0 || lines[0].Written != 3 {
		t.Errorf("the account is %+v", lines)
	}
	if n, got := s.rows(t, "crypto_prices"); n != 3 || got != want {
		t.Errorf("%d rows with digest %s, want 3 with %s", n, got, want)
	}
}

func equalLines(a, b resetLine) bool {
	return a.Partition == b.Partition && a.To == b.To && a.Again == b.Again && a.Skipped == b.Skipped &&
		(a.From == nil) == (b.From == nil) && (a.From == nil || *a.From == *b.From)
}

// TestResetCounts: what is read again and what is skipped, whatever the log and
// the ledger look like.
func TestResetCounts(t *testing.T) {
	t.Parallel()
	log := connect.Bounds{Start: 100, Stable: 200, End: 205}
	at := func(n int64) *int64 { return &n }
	for name, tt := range map[string]struct {
		from           *int64
		to             int64
		madeAgain      bool
		again, skipped int64
	}{
		"back":                        {at(150), 100, false, 50, 0},
		"forward":                     {at(150), 200, false, 0, 50},
		"nowhere":                     {at(150), 150, false, 0, 0},
		"never seen, earliest":        {nil, 100, false, 0, 0},
		"never seen, later":           {nil, 180, false, 0, 80},
		"expired meanwhile":           {at(20), 120, false, 0, 20},
		"ahead of a log that was cut": {at(900), 190, false, 15, 0},
		"made again, earliest":        {at(150), 100, true, 0, 0},
		"made again, later":           {at(150), 130, true, 0, 30},
	} {
		l := resetLine{From: tt.from, To: tt.to}
		if l.count(log, tt.madeAgain); l.Again != tt.again || l.Skipped != tt.skipped {
			t.Errorf("%s: %d read again and %d skipped, want %d and %d", name, l.Again, l.Skipped, tt.again, tt.skipped)
		}
	}
}

func TestParseResetTarget(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]resetTarget{
		"earliest":             {text: "earliest", initial: "earliest"},
		"latest":               {text: "latest", initial: "latest"},
		"0":                    {text: "0"},
		"9000000000":           {text: "9000000000", offset: 9_000_000_000},
		"2026-01-31T12:00:00Z": {text: "2026-01-31T12:00:00Z", initial: "2026-01-31T12:00:00Z"},
	} {
		if got, err := parseResetTarget(text); err != nil || got != want {
			t.Errorf("%q gave %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, bad := range []string{"", "-1", "1.5", "newest", "2026-01-31", time.Now().String()} {
		if _, err := parseResetTarget(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

// memoryLog holds one record, at the last stored offset.
type memoryLog struct{ timestamp int64 }

func (l memoryLog) Bounds(context.Context, []connect.TopicPartition) (map[connect.TopicPartition]connect.Bounds, error) {
	return nil, errors.New("not asked for")
}

func (l memoryLog) Read(_ context.Context, _ connect.TopicPartition, from, to int64) (connect.Span, error) {
	return connect.Span{From: from, Next: to, Records: []connect.Record{{Offset: from, Timestamp: l.timestamp}}}, nil
}

// TestTopicMadeAgainIsSeen by its id, and by its log where brokers give none
// (protocol 5).
func TestTopicMadeAgainIsSeen(t *testing.T) {
	t.Parallel()
	tp := connect.TopicPartition{Topic: "t", Partition: 1}
	at := time.UnixMilli(1_700_000_000_123)
	last := int64(9)
	one, other := connect.TopicID{1}, connect.TopicID{2}
	for name, tt := range map[string]struct {
		topicID connect.TopicID // the broker's
		ledger  string
		end     int64
		time    int64 // of the log's record at the last stored offset
		want    bool
	}{
		"the same id":                         {one, one.String(), 10, at.UnixMilli(), false},
		"another id":                          {other, one.String(), 10, at.UnixMilli(), true},
		"the same id, a log that was cut":     {one, one.String(), 5, at.UnixMilli(), false},
		"no id, the same record":              {connect.TopicID{}, "", 10, at.UnixMilli(), false},
		"no id, another record":               {connect.TopicID{}, "", 10, at.UnixMilli() + 1, true},
		"no id, a log that ends before":       {connect.TopicID{}, "", 9, at.UnixMilli(), true},
		"an id that is new, the same record":  {one, "", 10, at.UnixMilli(), false},
		"an id that is new, another record":   {one, "", 10, at.UnixMilli() + 1, true},
		"an id that is no longer given, same": {connect.TopicID{}, one.String(), 10, at.UnixMilli(), false},
	} {
		o := &offsets{
			log:    memoryLog{tt.time},
			claims: []connect.Claim{{TopicPartition: tp, TopicID: tt.topicID}},
			bounds: map[connect.TopicPartition]connect.Bounds{tp: {TopicID: tt.topicID, Stable: tt.end, End: tt.end}},
			ledger: map[connect.TopicPartition]timescalesink.LedgerRow{
				tp: {TopicPartition: tp, TopicID: tt.ledger, NextOffset: 10, LastOffset: &last, LastTime: &at},
			},
		}
		plan, err := o.planReset(t.Context(), "t", nil, resetTarget{text: "0"})
		if err != nil || plan.madeAgain != tt.want {
			t.Errorf("%s: made again %v, %v; want %v", name, plan != nil && plan.madeAgain, err, tt.want)
		}
	}
}
