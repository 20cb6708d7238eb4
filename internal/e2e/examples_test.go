package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// example is a program of the folder examples.
type example struct {
	// prepare installs what the program needs. What it returns runs the program for
	// an exchange of the stack, and gives its output.
	prepare func(t *testing.T) func(s *stack, r *replica, exchange string) string
	// lines is how many places the output names.
	lines int
	// makesTopics says that the program makes its topics itself.
	makesTopics bool
	// idempotent says that the client writes so, and with lz4.
	idempotent bool
	// overHTTP says that the program goes through the connector.
	overHTTP bool
}

var examples = map[string]example{
	"go":         {prepare: goExample, lines: 5, makesTopics: true, idempotent: true},
	"python":     {prepare: pythonExample, lines: 5, idempotent: true},
	"typescript": {prepare: typescriptExample, lines: 4, idempotent: true}, // one for each partition
	"curl":       {prepare: curlExample, makesTopics: true, idempotent: true, overHTTP: true},
	"rpk":        {prepare: rpkExample, lines: 5},
}

// TestExamples: what the examples publish lies in the partition of its key, in
// order, and becomes rows with every digit; publishing it again changes nothing.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, ex := range examples {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run := ex.prepare(t)
			eachBroker(t, func(t *testing.T, brokers []string) { testExample(t, newStack(t, brokers), ex, run) })
		})
	}
}

func testExample(t *testing.T, s *stack, ex example, run func(*stack, *replica, string) string) {
	exchange := s.exchange("example")
	samples := exampleSamples(exchange)
	for _, kind := range []marketdata.Kind{marketdata.KindTrade, marketdata.KindPrice} {
		if ex.makesTopics {
			s.topics = append(s.topics, marketdata.TopicName(kind, exchange))
			continue
		}
		s.createTopic(kind, "example", examplePartitions)
	}
	if ex.overHTTP {
		s.process["publish.listeners"] = "http://127.0.0.1:0"
		s.process["publish.tokens.path"] = writeFile(t, "tokens.json", fmt.Sprintf(
			`{"tokens": [{"name": "example", "token": %q, "kinds": ["trade", "price"], "exchanges": [%q]}]}`, ingestToken, exchange))
	}
	r := s.start("replica-0")
	first := s.examplePlaces(samples, 0)
	s.checkPrinted(ex, run(s, r, exchange), first)
	s.checkAccount()
	s.checkOrigins(samples, first)
	if ex.idempotent {
		s.checkBatches(len(samples))
	}
	s.checkPrinted(ex, run(s, r, exchange), s.examplePlaces(samples, 1))
	s.checkAccount()
	r.terminate(limit)
}

// examplePartitions tell murmur2 from other hashes, and from murmur2 as an
// unsigned number: of a power of two they would not.
const examplePartitions = 12

// exampleSamples are the records that each example publishes, in their order.
func exampleSamples(exchange string) []sample {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	micros := func(after time.Duration) string { return fmt.Sprint(at.Add(after).UnixMicro()) }
	trade := func(symbol, id string, after time.Duration, price, size, side string) sample {
		return sample{kind: marketdata.KindTrade, key: symbol, columns: []string{
			exchange, symbol, id, micros(after), price, size, side, "example", absent,
		}}
	}
	price := func(coin, symbol, price, marketCap string) sample {
		return sample{kind: marketdata.KindPrice, key: symbol, columns: []string{
			coin, exchange, micros(0), symbol, price, marketCap, absent, "example", "", absent,
		}}
	}
	const µs = 123456 * time.Microsecond
	return []sample{
		trade("BTC-USD", "1001", µs, "65000.123456789012345678", "0.00000001", "buy"),
		trade("PEPE-USD", "1002", time.Second+µs, "0.000000012345678901", "987654321098765432.10", "sell"),
		trade("BTC-USD", "1003", 2*time.Second+µs, "65000.10", "12.5000", absent),
		price("bitcoin", "BTC", "65000.123456789012345678", "1280000000000.000000000000000001"),
		price("ethereum", "ETH", "3500.10", absent),
	}
}

// examplePlaces notes the records of a run in the journal, and gives where they
// must lie: earlier is how many runs there were before.
func (s *stack) examplePlaces(samples []sample, earlier int64) []position {
	each := map[connect.TopicPartition]int64{}
	places := make([]position, len(samples))
	for i := range samples {
		places[i].TopicPartition = examplePartition(&samples[i])
		each[places[i].TopicPartition]++
	}
	next := map[connect.TopicPartition]int64{}
	for i := range samples {
		tp := places[i].TopicPartition
		places[i].offset = earlier*each[tp] + next[tp]
		next[tp]++
		s.journal.stored(&samples[i], places[i])
	}
	return places
}

func examplePartition(e *sample) connect.TopicPartition {
	exchange := e.columns[0]
	if e.kind == marketdata.KindPrice {
		exchange = e.columns[1]
	}
	return connect.TopicPartition{
		Topic:     marketdata.TopicName(e.kind, exchange),
		Partition: marketdata.Partition([]byte(e.key), examplePartitions),
	}
}

var printedPlace = regexp.MustCompile(`(?m)^(crypto-\S+)/(\d+)@(\d+)$`)

// checkPrinted compares the places that a program names with those where the
// records must lie.
func (s *stack) checkPrinted(ex example, out string, want []position) {
	s.t.Helper()
	right := map[string]bool{}
	for _, p := range want {
		right[fmt.Sprintf("%s/%d@%d", p.Topic, p.Partition, p.offset)] = true
	}
	printed := printedPlace.FindAllString(out, -1)
	for _, p := range printed {
		if !right[p] {
			s.t.Errorf("the program names %s, want places among %v", p, want)
		}
	}
	if len(printed) != ex.lines {
		s.t.Errorf("the program names %d places, want %d:\n%s", len(printed), ex.lines, out)
	}
}

// checkOrigins compares where the rows come from with where the records must lie.
func (s *stack) checkOrigins(samples []sample, want []position) {
	s.t.Helper()
	for i := range samples {
		e := &samples[i]
		rows, err := s.db.Query(s.t.Context(), fmt.Sprintf(
			"SELECT t.topic, r.origin_partition, r.origin_offset FROM %s r JOIN %s t ON t.id = r.origin_topic WHERE %s = $1",
			s.table(tableNames[e.kind]), s.table("connector_topics"), rowText(e.kind)), e.rowText())
		if err != nil {
			s.t.Fatal(err)
		}
		got, err := pgx.CollectExactlyOneRow(rows, func(row pgx.CollectableRow) (p position, err error) {
			return p, row.Scan(&p.Topic, &p.Partition, &p.offset)
		})
		if err != nil || got != want[i] {
			s.t.Errorf("the row %s comes from %s (%v), want %s", e.rowText(), got, err, want[i])
		}
	}
}

// checkBatches reads the records as they lie in the log: they were written
// idempotently, and with lz4 where that made them smaller.
func (s *stack) checkBatches(records int) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...), kgo.ConsumeTopics(s.topics...),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		s.t.Fatal(err)
	}
	defer client.Close()
	const none, lz4 = 0, 3
	compressed := 0
	for read := 0; read < records; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			s.t.Fatal(err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			read++
			if r.ProducerID < 0 {
				s.t.Errorf("%s was not written idempotently", at(r))
			}
			switch r.Attrs.CompressionType() {
			case lz4:
				compressed++
			case none:
			default:
				s.t.Errorf("%s has compression %d, want lz4", at(r), r.Attrs.CompressionType())
			}
		})
	}
	if compressed == 0 {
		s.t.Error("no record is compressed with lz4")
	}
}

// goProgram builds the example in Go.
var goProgram = sync.OnceValues(func() (string, error) { return build("example-go", "./examples/go") })

func goExample(t *testing.T) func(*stack, *replica, string) string {
	path, err := goProgram()
	if err != nil {
		t.Fatal(err)
	}
	return func(s *stack, _ *replica, exchange string) string {
		return s.runExample(exec.Command(path, "--brokers", strings.Join(s.brokers, ","), "--exchange", exchange))
	}
}

// runExample runs a program to its end, which must be a good one, and gives its
// output.
func (s *stack) runExample(cmd *exec.Cmd) string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), limit)
	defer cancel()
	out, err := output(ctx, cmd)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// output runs a program until it ends or ctx does. The error holds what it wrote.
func output(ctx context.Context, cmd *exec.Cmd) (string, error) {
	var out, errOut strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		return "", err
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() }) // it may have ended by itself
	defer stop()
	if err := cmd.Wait(); err != nil {
		return "", fmt.Errorf("%s: %w\n%.4000s%.4000s", filepath.Base(cmd.Path), errors.Join(err, ctx.Err()), out.String(), errOut.String())
	}
	return out.String(), nil
}

// exampleFile reads a file of the folder examples.
func exampleFile(t testing.TB, path ...string) []byte {
	t.Helper()
	text, err := os.ReadFile(examplePath(t, path...))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func examplePath(t testing.TB, path ...string) string {
	t.Helper()
	root, err := moduleRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(append([]string{root, "examples"}, path...)...)
}

const ingestToken = "a-token-of-the-examples"

// curlExample posts to the connector, whose answers say that it took all.
func curlExample(t *testing.T) func(*stack, *replica, string) string {
	bash := needCommand(t, "bash")
	needCommand(t, "curl")
	return func(s *stack, r *replica, exchange string) string {
		const sign = `msg="serving ingest" listeners=`
		r.waitLog(sign)
		_, rest, _ := strings.Cut(r.log.String(), sign)
		address, _, _ := strings.Cut(rest, "\n")
		cmd := exec.Command(bash, examplePath(s.t, "curl", "publish.sh"))
		cmd.Env = append(os.Environ(), "TICKCONNECT_URL="+address, "TICKCONNECT_TOKEN="+ingestToken, "EXCHANGE="+exchange)
		out := s.runExample(cmd)
		if n := strings.Count(out, `"rejected":[]`); n != 3 {
			s.t.Errorf("%d of 3 requests were taken as they are:\n%s", n, out)
		}
		if strings.Contains(r.log.String(), ingestToken) {
			s.t.Error("the log shows the token")
		}
		return out
	}
}

// rpkExample does what rpk does with the files of its example: a key and a value
// on each line, divided by a tab.
func rpkExample(t *testing.T) func(*stack, *replica, string) string {
	return func(s *stack, _ *replica, exchange string) string {
		var places strings.Builder
		for _, name := range []string{"trades", "prices"} {
			for line := range strings.Lines(string(exampleFile(t, "rpk", name+".tsv"))) {
				key, value, found := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
				if !found {
					s.t.Fatalf("%s.tsv: a line has no tab: %s", name, line)
				}
				r := &kgo.Record{
					Topic: "crypto-" + name + "-" + exchange, Key: []byte(key),
					Value: []byte(strings.Replace(value, `"exchangeId":"example"`, `"exchangeId":"`+exchange+`"`, 1)),
				}
				s.produceRaw(r)
				fmt.Fprintf(&places, "%s/%d@%d\n", r.Topic, r.Partition, r.Offset)
			}
		}
		return places.String()
	}
}

// TestRpkExampleRecord: the record that the page sends by hand is a good one, and
// its key is its symbol.
func TestRpkExampleRecord(t *testing.T) {
	t.Parallel()
	sent := regexp.MustCompile(`(?s)echo '(.*?)' \|\s+rpk topic produce (\S+) .*--key (\S+)\n`).
		FindStringSubmatch(string(exampleFile(t, "rpk", "README.md")))
	if sent == nil {
		t.Fatal("examples/rpk/README.md sends no record")
	}
	var decoder marketdata.Decoder
	var trade marketdata.Trade
	if err := decoder.Trade([]byte(sent[1]), time.Now(), &trade); err != nil || decoder.UnknownFields() > 0 {
		t.Errorf("the record gives %v and %d unknown fields", err, decoder.UnknownFields())
	}
	if kind, exchange, ok := marketdata.KindOfTopic(sent[2]); !ok || kind != marketdata.KindTrade || exchange != trade.ExchangeID {
		t.Errorf("the record of exchange %s goes to %s", trade.ExchangeID, sent[2])
	}
	if sent[3] != trade.Symbol {
		t.Errorf("the record's key is %s, its symbol %s", sent[3], trade.Symbol)
	}
}
