package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/recording"
	"github.com/qicore/tickconnect/marketdata"
)

// demoDir is a folder for the demo's data, which the account of the database's
// server can enter.
func demoDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "tickconnect-demo-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// demoOutput is what a demo prints. It calls at as soon as the output holds
// text.
type demoOutput struct {
	printed bytes.Buffer
	text    string
	at      func()
}

func (o *demoOutput) Write(p []byte) (int, error) {
	n, err := o.printed.Write(p)
	if o.at != nil && strings.Contains(o.printed.String(), o.text) {
		o.at()
	}
	return n, err
}

// runDemoFor runs the command until it ends, or interrupts it once it prints
// the text; it gives what was printed.
func runDemoFor(t *testing.T, interruptAt string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := newDemoCommand()
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	out := &demoOutput{}
	if interruptAt != "" {
		out.text, out.at = interruptAt, cancel
	}
	cmd.SetOut(out)
	cmd.SetErr(out)
	cmd.SetArgs(args)
	err := cmd.ExecuteContext(ctx)
	if errors.Is(err, devstack.ErrUnavailable) {
		t.Skip(err)
	}
	t.Logf("demo %v:\n%s", args, out.printed.String())
	return out.printed.String(), err
}

// TestDemo interrupts the demo while it publishes; the next run goes on, and the
// one after that finds everything done and stores nothing twice.
func TestDemo(t *testing.T) {
	t.Parallel()
	dir := demoDir(t)
	records := grouped((&demo{recorded: demoTotals(t)}).records())

	out, err := runDemoFor(t, "; rows: trades", "--exit", "--rate", "30000", "--data-dir", dir)
	if err == nil || !strings.Contains(err.Error(), "interrupted before the recording was stored") {
		t.Fatalf("an interrupted demo ends with %v", err)
	}
	wantAll(t, out, "32 made now", records+" records; 0 were published before, 0 stored")

	out, err = runDemoFor(t, "", "--exit", "--rate", "0", "--data-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, out, "0 made now", "All "+records+" records are accounted for: none is lost, none is stored twice.",
		"10 s candles of", "┤", "crypto-trades-binance-usdm", "psql ")
	lacksAll(t, out, "; 0 were published before", "; "+records+" were published before")
	tables := rowsLine(t, out)

	out, err = runDemoFor(t, "", "--exit", "--rate", "0", "--data-dir", dir)
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, out, records+" records; "+records+" were published before, "+records+" stored",
		"none is stored twice.", "  0 of them in this run, "+records+" before it.")
	if again := rowsLine(t, out); again != tables {
		t.Errorf("the tables had %s, the next run made that %s", tables, again)
	}
}

// TestDemoOnOtherServers takes a broker and a database that are there already.
func TestDemoOnOtherServers(t *testing.T) {
	t.Parallel()
	broker, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	database, err := devstack.StartDatabase(t.Context(), devstack.DatabaseOptions{Throwaway: true})
	if errors.Is(err, devstack.ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { database.Close() })

	dir := demoDir(t)
	out, err := runDemoFor(t, "", "--exit", "--rate", "0", "--data-dir", dir,
		"--brokers", strings.Join(broker.Brokers(), ","), "--database-url", database.URL())
	if err != nil {
		t.Fatal(err)
	}
	wantAll(t, out, broker.Brokers()[0], "none is lost, none is stored twice.")
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if entry.Name() != "connector.log" {
			t.Errorf("the demo left %s, though both servers are others'", entry.Name())
		}
	}
	if u, err := url.Parse(database.URL()); err != nil {
		t.Error(err)
	} else if password, _ := u.User.Password(); password == "" || strings.Contains(out, password) {
		t.Error("the output shows the password of others' database")
	}
}

// TestDemoSaysWhatIsAway: servers that the flags name and that are not there.
func TestDemoSaysWhatIsAway(t *testing.T) {
	t.Parallel()
	broker, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	for _, test := range []struct{ brokers, database, want string }{
		{"127.0.0.1:1", "postgres://nobody@127.0.0.1:1/none", "--database-url"},
		{broker.Brokers()[0], "postgres://nobody:secret-word@127.0.0.1:1/none", "--database-url"},
		{broker.Brokers()[0], "no url", "--database-url"},
	} {
		_, err := runDemoFor(t, "", "--exit", "--data-dir", demoDir(t), "--brokers", test.brokers, "--database-url", test.database)
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "secret-word") {
			t.Errorf("brokers %s and database %s: %v", test.brokers, test.database, err)
		}
	}
}

func wantAll(t *testing.T, out string, want ...string) {
	t.Helper()
	for _, text := range want {
		if !strings.Contains(out, text) {
			t.Errorf("the output lacks %q", text)
		}
	}
}

func lacksAll(t *testing.T, out string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if strings.Contains(out, text) {
			t.Errorf("the output holds %q", text)
		}
	}
}

// rowsLine is the line that counts the tables' rows at the end.
func rowsLine(t *testing.T, out string) string {
	t.Helper()
	for line := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(line, "  rows ") {
			return line
		}
	}
	t.Fatal("no line counts the rows")
	return ""
}

// demoBroker starts a broker in memory with the recording's topics.
func demoBroker(t *testing.T) (brokers, topics []string) {
	t.Helper()
	broker, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { broker.Close() })
	for _, total := range demoTotals(t) {
		topics = append(topics, total.Topic)
	}
	return broker.Brokers(), topics
}

// newRun is the publisher of a new process, as it finds the logs.
func newRun(t *testing.T, brokers, topics []string) (*publisher, *kadm.Client) {
	t.Helper()
	client, err := newPublisherClient(brokers)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	admin := kadm.NewClient(client)
	if _, err := createTopics(t.Context(), client, topics); err != nil {
		t.Fatal(err)
	}
	ends, err := endOffsets(t.Context(), admin, topics)
	if err != nil {
		t.Fatal(err)
	}
	return &publisher{client: client, ends: ends}, admin
}

// TestPublishGoesOn interrupts the publisher at several points; the runs that
// follow leave the log as one that was never interrupted would.
func TestPublishGoesOn(t *testing.T) {
	t.Parallel()
	brokers, topics := demoBroker(t)
	want := (&demo{recorded: demoTotals(t)}).records()
	for _, stopAt := range []int64{1, 1_000, 40_000, want} {
		p, admin := newRun(t, brokers, topics)
		if err := p.checkPublished(t.Context(), admin); err != nil {
			t.Fatal(err)
		}
		if before := p.published.Load(); before != p.ends.records() {
			t.Fatalf("%d records are in the logs, %d are said to be", p.ends.records(), before)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- p.publish(ctx, 0) }()
		for p.published.Load() < stopAt && ctx.Err() == nil {
			select {
			case err := <-ended:
				ended <- err
				cancel()
			case <-time.After(time.Millisecond):
			}
		}
		if stopAt < want {
			cancel()
		}
		err := <-ended
		cancel()
		if stopAt == want && err != nil {
			t.Fatal(err)
		}
		now, err := endOffsets(t.Context(), admin, topics)
		if err != nil {
			t.Fatal(err)
		}
		if n := now.records(); stopAt < want && n == want {
			t.Fatalf("the run that was to end after %d records published all", stopAt)
		}
		p.client.Close()
	}
	p, admin := newRun(t, brokers, topics)
	if err := p.checkPublished(t.Context(), admin); err != nil {
		t.Fatal(err)
	}
	if got := p.ends.records(); got != want {
		t.Fatalf("the logs hold %d records, the recording %d", got, want)
	}
	checkLog(t, p.client, p.ends)
}

// TestPublishRefusesOthersRecords: a topic in which somebody else wrote, before
// the recording or after it.
func TestPublishRefusesOthersRecords(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"before", "after"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			brokers, topics := demoBroker(t)
			p, _ := newRun(t, brokers, topics)
			if name == "after" {
				if err := p.publish(t.Context(), 0); err != nil {
					t.Fatal(err)
				}
			}
			foreign := &kgo.Record{Topic: topics[0], Key: []byte("BTCUSDT"), Value: []byte("{}")}
			if err := p.client.ProduceSync(t.Context(), foreign).FirstErr(); err != nil {
				t.Fatal(err)
			}
			p, admin := newRun(t, brokers, topics)
			if err := p.checkPublished(t.Context(), admin); err == nil || !strings.Contains(err.Error(), topics[0]+"/") {
				t.Errorf("the topic was taken: %v", err)
			}
		})
	}
}

func TestDemoDataDir(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_STATE_HOME", dir)
	got, err := demoDataDir("")
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(dir, "tickconnect", "demo")
	if os.Geteuid() == 0 {
		want = "/var/lib/tickconnect/demo"
	}
	if got != want {
		t.Errorf("the data go to %s, want %s", got, want)
	}
	if got, err := demoDataDir(filepath.Join(dir, "own")); err != nil || got != filepath.Join(dir, "own") {
		t.Errorf("--data-dir %s gives %s, %v", filepath.Join(dir, "own"), got, err)
	}
}

// TestDemoJudges: what is wrong with an account is said, and a good one has no
// problem.
func TestDemoJudges(t *testing.T) {
	t.Parallel()
	good := auditLine{Topic: "crypto-trades-x", Next: 10, End: 10, Written: 8, Merged: 2, Verdict: verdictOK}
	empty := auditLine{Topic: "crypto-trades-x", Partition: 1, Verdict: verdictMissing}
	d := demo{recorded: []recording.Total{{Topic: "crypto-trades-x", Records: 10}}}
	if problems := d.judge([]auditLine{good, empty}); len(problems) > 0 {
		t.Errorf("a good account has problems: %q", problems)
	}
	for want, spoil := range map[string]func(*auditLine){
		"crypto-trades-x/0: behind.":                                  func(l *auditLine) { l.End, l.Verdict = 12, verdictBehind },
		"The ledger accounts for 9 records, the recording has 10.":    func(l *auditLine) { l.Next, l.End, l.Written = 9, 9, 7 },
		"3 records had expired before this database could take them.": func(l *auditLine) { l.Start, l.Written = 3, 5 },
		"1 records are dead-lettered.":                                func(l *auditLine) { l.Written, l.DeadLettered = 7, 1 },
		"2 records are absent.":                                       func(l *auditLine) { l.Merged, l.Absent = 0, 2 },
	} {
		bad := good
		spoil(&bad)
		if problems := d.judge([]auditLine{bad, empty}); !slices.Contains(problems, want) {
			t.Errorf("the problems are %q, want %q", problems, want)
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"postgres://user:secret@host:5432/db?sslmode=require":     "postgres://user@host:5432/db?sslmode=require",
		"postgres://host/db?password=secret&user=me":              "postgres://host/db?user=me",
		"host=db user=me password=secret":                         "the URL that --database-url names",
		"postgres://user:secret@one:1,two:2/db":                   "postgres://user@one:1,two:2/db",
		"jdbc:postgresql://host/db?user=me&password=secret":       "the URL that --database-url names",
		"postgres://user:sec%zzret@host/db":                       "the URL that --database-url names",
		"postgres://user:secret@/db?host=/var/run&sslpassword=no": "the URL that --database-url names",
	} {
		if got := withoutPassword(text); got != want {
			t.Errorf("withoutPassword(%q) = %q, want %q", text, got, want)
		}
	}
}

func TestCutLine(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ line, want string }{
		{"short", "short"},
		{"far too long", "far t"},
		{"\x1b[32m████████\x1b[0m", "\x1b[32m█████\x1b[0m"},
		{"ab\x1b[1mcd\x1b[0mefgh\x1b[31mi\x1b[0m", "ab\x1b[1mcd\x1b[0me\x1b[31m\x1b[0m"},
	} {
		if got := cutLine(test.line, 5); got != test.want {
			t.Errorf("cutLine(%q) = %q, want %q", test.line, got, test.want)
		}
	}
}

func TestGrouped(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1_234_567: "1,234,567", -1000: "-1,000"} {
		if got := grouped(n); got != want {
			t.Errorf("grouped(%d) = %s, want %s", n, got, want)
		}
	}
}

func demoTotals(t *testing.T) []recording.Total {
	t.Helper()
	var d demo
	if err := d.readTotals(); err != nil {
		t.Fatal(err)
	}
	return d.recorded
}

// checkLog reads all that was published and compares it with the recording: the
// n-th record of each partition is the recording's n-th for it.
func checkLog(t *testing.T, client *kgo.Client, ends logEnds) {
	t.Helper()
	reader, err := recording.Open()
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	want := make(map[connect.TopicPartition][]recording.Record)
	for {
		r, err := reader.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		tp := connect.TopicPartition{Topic: r.Topic, Partition: marketdata.Partition(r.Key, int32(len(ends[r.Topic])))}
		want[tp] = append(want[tp], r)
	}
	from := make(map[string]map[int32]kgo.Offset)
	for _, topic := range ends.topics() {
		from[topic] = make(map[int32]kgo.Offset)
		for partition := range ends[topic] {
			from[topic][int32(partition)] = kgo.NewOffset().AtStart()
		}
	}
	client.AddConsumePartitions(from)
	for read := int64(0); read < ends.records(); {
		fetches := client.PollFetches(t.Context())
		for _, e := range fetches.Errors() {
			t.Fatalf("%s/%d: %v", e.Topic, e.Partition, e.Err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			tp := connect.TopicPartition{Topic: r.Topic, Partition: r.Partition}
			if r.Offset >= int64(len(want[tp])) {
				t.Fatalf("%s@%d: the recording has %d records for the partition", tp, r.Offset, len(want[tp]))
			}
			if w := want[tp][r.Offset]; !bytes.Equal(w.Key, r.Key) || !bytes.Equal(w.Value, r.Value) {
				t.Fatalf("%s@%d is %s %s, want %s %s", tp, r.Offset, r.Key, r.Value, w.Key, w.Value)
			}
		})
	}
}
