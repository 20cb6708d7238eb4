package files

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/marketdata"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// fakeClock goes on only when it is waited for.
type fakeClock struct {
	mu    sync.Mutex
	now   time.Time
	waits []time.Duration // of more than nothing, one for each step
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) Wait(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	c.waits = append(c.waits, d)
	return context.Cause(ctx)
}

// publishTimes publishes trades with these times, in seconds, and says how long
// that took by the clock.
func publishTimes(t *testing.T, o Options, seconds ...float64) time.Duration {
	t.Helper()
	var text strings.Builder
	for i, s := range seconds {
		fmt.Fprintf(&text, `{"symbol":"S","tradeId":"%d","time":%d,"price":1,"size":1}`+"\n", i, 1_700_000_000_000+int64(s*1000))
	}
	path := filepath.Join(t.TempDir(), "t.jsonl")
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	clock := &fakeClock{now: time.Unix(1_800_000_000, 0)}
	o.Clock, o.Kind, o.Exchange, o.State, o.Brokers = clock, marketdata.KindTrade, "x", t.TempDir(), testenv.Broker(t)
	p, err := New(o, []string{path})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := p.Run(ctx)
	if err != nil || s.Published != int64(len(seconds)) {
		t.Fatalf("%+v, %v", s, err)
	}
	return clock.now.Sub(time.Unix(1_800_000_000, 0))
}

// stuck is a network that takes no more after some bytes.
type stuck struct {
	left atomic.Int64
	full chan struct{} // closed when it does so
	once sync.Once
}

type stuckConn struct {
	net.Conn
	network *stuck
	closed  chan struct{}
	once    sync.Once
}

func (s *stuck) dial(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	return &stuckConn{Conn: conn, network: s, closed: make(chan struct{})}, err
}

func (c *stuckConn) Write(p []byte) (int, error) {
	if c.network.left.Add(-int64(len(p))) < 0 {
		c.network.once.Do(func() { close(c.network.full) })
		<-c.closed
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

func (c *stuckConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// TestPlaceFollowsAnswers: the place never goes ahead of what the brokers have
// answered. A run that could send only a part leaves the rest to the next.
func TestPlaceFollowsAnswers(t *testing.T) {
	t.Parallel()
	const n = 30_000
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, `{"symbol":"S%d","tradeId":"%d","time":1700000000000,"price":1,"size":1}`+"\n", i%50, i)
	}
	path := filepath.Join(t.TempDir(), "t.jsonl")
	if err := os.WriteFile(path, []byte(text.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	o := Options{Kind: marketdata.KindTrade, Exchange: "x", State: t.TempDir(), Brokers: testenv.Broker(t)}
	network := &stuck{full: make(chan struct{})}
	network.left.Store(300_000)
	bad := o
	bad.Client = []kgo.Opt{kgo.Dialer(network.dial)}
	p, err := New(bad, []string{path})
	if err != nil {
		t.Fatal(err)
	}
	p.stopLimit = 100 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	go func() {
		<-network.full
		cancel()
	}()
	first, err := p.Run(ctx)
	answered := p.Progress().Published
	p.Close()
	if !errors.Is(err, ErrInterrupted) || answered == 0 || answered >= n || first.Files[0].Lines > answered {
		t.Fatalf("%+v, %v; %d of %d records had an answer", first.Files[0], err, answered, n)
	}
	if p, err = New(o, []string{path}); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	ctx, cancel = context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	second, err := p.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	f := second.Files[0]
	if all := first.Files[0].Published + f.Found + f.Published; all != n || f.Published != n-answered {
		t.Errorf("%d had an answer; then %d were found and %d published; %d in all", answered, f.Found, f.Published, all)
	}
}

// TestSpeed: gaps between the records' own times, divided by the speed; a time
// that goes back does not wait, and the gap after it is not counted twice.
func TestSpeed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		speed   float64
		seconds []float64
		want    time.Duration
	}{
		{1, []float64{0, 1, 3}, 3 * time.Second},
		{10, []float64{0, 1, 3, 3600}, 360 * time.Second},
		{0.5, []float64{10, 11}, 2 * time.Second},
		{1, []float64{5, 2, 4, 5, 7}, 2 * time.Second},
		{0, []float64{0, 3600}, 0},
	} {
		if took := publishTimes(t, Options{Speed: tt.speed}, tt.seconds...); took != tt.want {
			t.Errorf("%v at %vx took %s, want %s", tt.seconds, tt.speed, took, tt.want)
		}
	}
}

// TestRate lets so many records through each second, and does not hurry after a
// stop; with a speed the slower one counts.
func TestRate(t *testing.T) {
	t.Parallel()
	same := make([]float64, 101)
	if took := publishTimes(t, Options{Rate: 20}, same...); took != 5*time.Second {
		t.Errorf("101 records at 20 a second took %s", took)
	}
	if took := publishTimes(t, Options{Rate: 20, Speed: 1}, append(same, 60)...); took < 60*time.Second || took > 61*time.Second {
		t.Errorf("with a speed it took %s", took)
	}
	r := rate{perSecond: 10}
	now := time.Unix(0, 0)
	r.due(now)
	now = now.Add(time.Minute)
	for i := range 20 {
		if at := r.due(now); at != now.Add(time.Duration(i)*100*time.Millisecond) {
			t.Fatalf("after a stop record %d is due at %s", i, at)
		}
	}
}

// TestLongLinesStayOut of memory, and reach whoever keeps them whole.
func TestLongLinesStayOut(t *testing.T) {
	t.Parallel()
	const long = 50 << 20
	in := io.MultiReader(strings.NewReader("first\n"), io.LimitReader(endless{}, long), strings.NewReader("\r\nlast"))
	l := newLines(in, 1000)
	first, err := l.next()
	if err != nil || string(first.text()) != "first" {
		t.Fatalf("%+v, %v", first, err)
	}
	second, err := l.next()
	if err != nil || !second.long || second.number != 2 || second.offset != 6 {
		t.Fatalf("%+v, %v", second, err)
	}
	n := int64(len(second.raw))
	if err := l.skipRest(writerFunc(func(p []byte) { n += int64(len(p)) })); err != nil || n != long+2 {
		t.Errorf("%d bytes, %v", n, err)
	}
	if cap(l.buf) > 256<<10 {
		t.Errorf("%d bytes are held", cap(l.buf))
	}
	last, err := l.next()
	if err != nil || string(last.text()) != "last" || last.ended() || last.offset != 6+long+2 || last.number != 3 {
		t.Errorf("%+v, %v", last, err)
	}
	if _, err := l.next(); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}

// TestTable: what CSV becomes.
func TestTable(t *testing.T) {
	t.Parallel()
	table, err := newTable([]byte("Exchange_ID, closed,metrics,other"), marketdata.KindOHLCV, nil)
	if err != nil {
		t.Fatal(err)
	}
	for line, want := range map[string]string{
		`a,TRUE,,00012.50`:         `{"exchangeId":"a","closed":true,"metrics":"","other":"00012.50"}`,
		`"a""\` + "\x01" + `",,1,`: `{"exchangeId":"a\"\\\u0001","metrics":"1","other":""}`,
		"\xff,maybe,,":             "{\"exchangeId\":\"\xff\",\"closed\":\"maybe\",\"metrics\":\"\",\"other\":\"\"}",
	} {
		if got, err := table.record(nil, []byte(line)); err != nil || string(got) != want {
			t.Errorf("%q gave %s, %v; want %s", line, got, err, want)
		}
	}
	for _, line := range []string{"a,b", `a,"b,c,d`, `a,b"c,d,e`, "a,b,c,d,e", `"`, ``} {
		if got, err := table.record(nil, []byte(line)); err == nil {
			t.Errorf("%q gave %s", line, got)
		}
		// The next line is whole.
		if got, err := table.record(nil, []byte("a,,,d")); err != nil || !bytes.HasPrefix(got, []byte(`{"exchangeId":"a"`)) {
			t.Errorf("after %q: %s, %v", line, got, err)
		}
	}
	table, err = newTable([]byte("time,metrics"), marketdata.KindAnalytics, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := table.record(nil, []byte(`1,"{""a"":1.50}"`)); err != nil || string(got) != `{"time":"1","metrics":{"a":1.50}}` {
		t.Errorf("%s, %v", got, err)
	}
	if got, err := table.record(nil, []byte(`1,`)); err != nil || string(got) != `{"time":"1"}` {
		t.Errorf("%s, %v", got, err)
	}
}

// TestFoundAmongOthers: of what the topics got only the lines of this run count,
// wherever others wrote, and a log that was cut behind the place is said.
func TestFoundAmongOthers(t *testing.T) {
	t.Parallel()
	brokers := []kgo.Opt{kgo.SeedBrokers(testenv.Broker(t)...)}
	client, err := kgo.NewClient(append(brokers, kgo.RecordPartitioner(kgo.ManualPartitioner()))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	admin := kadm.NewClient(client)
	for _, topic := range []string{"crypto-trades-x", "crypto-trades", "crypto-prices-x"} {
		if _, err := admin.CreateTopic(ctx, 2, 1, nil, topic); err != nil {
			t.Fatal(err)
		}
	}
	began := time.Now()
	put := func(topic string, partition int32, run string, offset int64) {
		t.Helper()
		r := &kgo.Record{Topic: topic, Partition: partition, Value: []byte("v"), Headers: originOf(run, offset)}
		if err := client.ProduceSync(ctx, r).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
	put("crypto-trades-x", 0, "mine", 90)
	put("crypto-trades-x", 0, "mine", 100)
	put("crypto-trades-x", 0, "other", 110)
	put("crypto-trades-x", 1, "mine", 120)
	put("crypto-trades", 1, "mine", 130)
	put("crypto-prices-x", 1, "mine", 140)
	if err := client.ProduceSync(ctx, &kgo.Record{Topic: "crypto-trades-x", Partition: 1, Value: []byte("v")}).FirstErr(); err != nil {
		t.Fatal(err)
	}
	waiting := func(err error) { t.Log(err) }
	p := &place{Run: "mine", Offset: 100, Since: began, Next: map[string]map[int32]int64{"crypto-trades-x": {0: 1}}}
	lines, unsure, err := found(ctx, brokers, marketdata.KindTrade, p, waiting)
	if err != nil || unsure != nil || len(lines) != 3 || !lines[100] || !lines[120] || !lines[130] {
		t.Errorf("found %v, %v, %v", lines, unsure, err)
	}
	var cut kadm.Offsets
	cut.AddOffset("crypto-trades-x", 0, 3, -1)
	if _, err := admin.DeleteRecords(ctx, cut); err != nil {
		t.Fatal(err)
	}
	lines, unsure, err = found(ctx, brokers, marketdata.KindTrade, p, waiting)
	if err != nil || unsure == nil || len(lines) != 2 {
		t.Errorf("after the log was cut: found %v, %v, %v", lines, unsure, err)
	}
}

func TestNamesTellKindAndFormat(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]marketdata.Kind{
		"/a/crypto-trades-kraken.jsonl.gz": marketdata.KindTrade, "crypto-prices.csv": marketdata.KindPrice,
		"crypto-level1-x-2024-08-08.jsonl": marketdata.KindLevel1, "trades.csv": 0,
	} {
		if got, ok := kindOfFile(name); got != want || ok != (want != 0) {
			t.Errorf("%s is %v", name, got)
		}
	}
	for _, tt := range []struct {
		name, begin string
		want        Format
	}{
		{"a.csv.gz", "{", CSV}, {"a.ndjson", "a,b", JSONL}, {"a", " \n{", JSONL}, {"a.txt", "\xef\xbb\xbfa,b\n", CSV}, {"a.json", "", JSONL}, {"a", "x y\n", ""},
	} {
		if got, err := formatOf(tt.name, []byte(tt.begin)); got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s with %q is %q, %v", tt.name, tt.begin, got, err)
		}
	}
}
