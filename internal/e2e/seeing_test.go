package e2e

import (
	"context"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/internal/grafana"
	"github.com/qicore/tickconnect/marketdata"
)

// rightlyEmpty are queries of dashboards, by dashboard, panel and letter, that give
// nothing on this test's data, each with the reason.
var rightlyEmpty = map[string]string{}

// seeing is a stack that is watched: records come all the time, into topics and over
// HTTP, until it is stopped.
type seeing struct {
	*stack
	*monitor
	gate           *gate
	trades, prices string
	ingest         string // the URL that trades are posted to, once it is known
	stopped        chan struct{}
	done           chan struct{}
	seq            int
}

// TestSeeing: a real Prometheus scrapes a replica through all that may befall it. Each
// query of each dashboard gives data; no alert fires while all is well, and each
// trouble has its alert. TICKCONNECT_PLOTS names a folder for plots of the queries.
func TestSeeing(t *testing.T) {
	t.Parallel()
	s := &seeing{stack: newStack(t, testenv.Broker(t)), monitor: newMonitor(t)}
	s.gate, s.url = newGate(t, s.url)
	s.settings["errors.deadletterqueue.topic.name"] = "dead-letters-" + s.id
	s.process["publish.listeners"] = "http://127.0.0.1:0"
	s.trades = s.createTopic(marketdata.KindTrade, "okx", 3)
	s.prices = s.createTopic(marketdata.KindPrice, "kraken", 2)
	calm := 5 // scrapes in which nothing happens; a picture wants more
	if plotsDir() != "" {
		calm = 20
	}

	r := s.startWatched()
	began := time.Now()
	s.feed()
	t.Cleanup(s.stopFeed)
	s.waitScrapes(r, calm)
	s.checkHealthy(r)

	s.produceBad(s.trades, poison{"", `{"price":"-1"}`}, poison{"", "no JSON"})
	s.waitFiring("TickconnectDeadLetters", s.trades, "not_json")
	s.waitFiring("TickconnectDeadLetters", s.trades, "missing_field")
	s.waitScrapes(r, calm)

	s.gate.set(gateClosed)
	s.waitFiring("TickconnectBreakerOpen")
	s.waitFiring("TickconnectUnhealthy")
	s.waitScrapes(r, calm)
	s.gate.set(gateOpen)
	s.waitQuiet("TickconnectBreakerOpen")
	s.waitQuiet("TickconnectUnhealthy")
	s.waitScrapes(r, calm)

	s.breakLedger()
	s.waitFiring("TickconnectLedgerUnbalanced", s.prices)
	s.waitScrapes(r, calm)
	s.mendLedger()
	s.waitQuiet("TickconnectLedgerUnbalanced")

	s.stopFeed()
	r.terminate(limit)
	s.waitFiring("TickconnectReplicaDown")
	s.expire(s.prices)
	r = s.startWatched()
	s.waitFiring("TickconnectOffsetsExpired", s.prices)
	s.feed()
	s.waitScrapes(r, calm+5)
	ended := time.Now()
	s.stopFeed()

	s.checkRules()
	plots := s.checkDashboards(began, ended)
	if dir := plotsDir(); dir != "" {
		drawPlots(t, dir, plots, began, ended)
	}
}

// startWatched starts the replica and has it scraped.
func (s *seeing) startWatched() *replica {
	r := s.start("replica-0")
	s.scrape(r)
	const sign = `msg="serving ingest" listeners=`
	r.waitLog(sign)
	_, rest, _ := strings.Cut(r.log.String(), sign)
	address, _, _ := strings.Cut(rest, "\n")
	s.ingest = address + "/publish/trade"
	s.waitScrapes(r, 1)
	return r
}

// feed sends records ten times a second, more and less of them in turns, and posts
// some: one of ten with a fault.
func (s *seeing) feed() {
	s.stopped, s.done = make(chan struct{}), make(chan struct{})
	exchange := s.exchange("okx")
	failed := func(err error) {
		if s.stack.t.Context().Err() == nil { // else the test has ended
			s.stack.t.Error(err)
		}
	}
	go func() {
		defer close(s.done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ; i++ {
			n := 30 + int(25*math.Sin(float64(i)/40))
			var trades, prices []sample
			for range n {
				trades = append(trades, newSample(marketdata.KindTrade, exchange, s.seq, 0))
				if s.seq%5 == 0 {
					prices = append(prices, newSample(marketdata.KindPrice, s.exchange("kraken"), s.seq, 0))
				}
				s.seq++
			}
			if err := s.tryProduce(s.trades, trades...); err != nil {
				failed(err)
			}
			if err := s.tryProduce(s.prices, prices...); err != nil {
				failed(err)
			}
			body := fmt.Sprintf(`{"exchangeId":%q,"symbol":"S1","tradeId":"http-%d","time":1767323045,"price":"1.10","size":"2"}`, exchange, s.seq)
			if i%10 == 0 {
				body = `{"price":"-1"}`
			}
			if resp, err := http.Post(s.ingest, "application/json", strings.NewReader(body)); err != nil {
				failed(err)
			} else {
				resp.Body.Close()
			}
			select {
			case <-tick.C:
			case <-s.stopped:
				return
			}
		}
	}()
}

// stopFeed may be called again.
func (s *seeing) stopFeed() {
	select {
	case <-s.stopped:
	default:
		close(s.stopped)
	}
	<-s.done
}

// checkHealthy has the rules evaluated for some seconds in which no alert may fire.
func (s *seeing) checkHealthy(r *replica) {
	s.stack.t.Helper()
	s.waitQuiet("TickconnectAbsent") // before the first scrape it was right
	from := time.Now()
	s.waitScrapes(r, 8)
	result, err := s.queryRange(`ALERTS{alertstate="firing"}`, from, time.Now())
	if err != nil {
		s.stack.t.Fatal(err)
	}
	for i := range result {
		if result[i].hasData() {
			s.stack.t.Errorf("all is well, and an alert fires: %v", result[i].Metric)
		}
	}
}

// breakLedger takes a row off the account, as only somebody's hand can.
func (s *seeing) breakLedger() {
	s.exec("ALTER TABLE " + s.table("connector_ledger") + " DROP CONSTRAINT connector_ledger_accounts, DROP CONSTRAINT connector_ledger_inserted")
	s.exec("UPDATE "+s.table("connector_ledger")+" SET written = written - 3 WHERE topic = $1 AND partition = 1", s.prices)
}

func (s *seeing) mendLedger() {
	s.exec("UPDATE "+s.table("connector_ledger")+" SET written = written + 3 WHERE topic = $1 AND partition = 1", s.prices)
}

// expire lets the broker delete records that nobody has read.
func (s *seeing) expire(topic string) {
	s.stack.t.Helper()
	ctx, cancel := context.WithTimeout(s.stack.t.Context(), limit)
	defer cancel()
	for range 60 {
		price := newSample(marketdata.KindPrice, s.exchange("kraken"), s.seq, 0)
		s.produceRaw(price.record(topic))
		s.seq++
	}
	ends, err := s.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		s.stack.t.Fatal(err)
	}
	deleted, err := s.admin.DeleteRecords(ctx, ends.Offsets())
	if err == nil {
		err = deleted.Error()
	}
	if err != nil {
		s.stack.t.Fatal(err)
	}
}

// checkRules: each rule could be evaluated, and what alerts say is filled in.
func (s *seeing) checkRules() {
	s.stack.t.Helper()
	rules := s.rules()
	if len(rules) < 10 {
		s.stack.t.Errorf("the server has %d rules", len(rules))
	}
	for _, r := range rules {
		if r.Health != "ok" {
			s.stack.t.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
		}
		for _, a := range r.Alerts {
			for name, text := range a.Annotations {
				if strings.Contains(text, "no value") || strings.Contains(text, "<error") || strings.Contains(text, "{{") {
					s.stack.t.Errorf("%s: its %s is %q", r.Name, name, text)
				}
			}
		}
	}
}

// panelData is what the queries of a panel gave.
type panelData struct {
	dashboard string
	panel     grafana.Panel
	series    [][]timeSeries // of each query
}

// rateWindow is $__rate_interval here: four scrapes and one more.
const rateWindow = 5 * time.Second

var variableQuery = regexp.MustCompile(`^label_values\((.+), ([a-z_]+)\)$`)

// checkDashboards runs every query, and gives what those of panels with a time axis
// gave.
func (s *seeing) checkDashboards(from, to time.Time) []panelData {
	t := s.stack.t
	t.Helper()
	all, err := grafana.Load("../../deploy/grafana/dashboards")
	if err != nil {
		t.Fatal(err)
	}
	shown := to.Sub(from).Round(time.Second)
	unused := maps.Clone(rightlyEmpty)
	queries := 0
	run := func(where, expr string, instant bool) []timeSeries {
		queries++
		expr = grafana.Expand(expr, rateWindow, shown)
		if strings.Contains(expr, "$") {
			t.Errorf("%s has a variable that is not known: %s", where, expr)
		}
		result, err := s.queryRange(expr, from, to)
		if instant && err == nil {
			result, err = s.query(expr)
		}
		if err != nil {
			t.Errorf("%s: %v", where, err)
			return nil
		}
		has := slices.ContainsFunc(result, func(r timeSeries) bool { return r.hasData() })
		_, empty := rightlyEmpty[where]
		if has == empty {
			t.Errorf("%s gives %d series, with data: %v: %s", where, len(result), has, expr)
		}
		delete(unused, where)
		return result
	}
	var plots []panelData
	for _, d := range all {
		for _, p := range d.Panels {
			data := panelData{dashboard: d.File, panel: p}
			for _, q := range p.Targets {
				data.series = append(data.series, run(fmt.Sprintf("%s, %s %s", d.File, p.Title, q.RefID), q.Expr, q.Instant))
			}
			plots = append(plots, data)
		}
		for _, a := range d.Annotations.List {
			if a.Expr != "" {
				run(d.File+", "+a.Name, a.Expr, false)
			}
		}
		for _, v := range d.Templating.List {
			if m := variableQuery.FindStringSubmatch(v.Definition); m != nil {
				var found []map[string]string
				if err := s.api("/api/v1/series", url.Values{"match[]": {grafana.Expand(m[1], rateWindow, shown)}}, &found); err != nil {
					t.Error(err)
				}
				if len(found) == 0 || found[0][m[2]] == "" {
					t.Errorf("%s: variable %s has no value: %v", d.File, v.Name, found)
				}
			}
		}
	}
	for where := range unused {
		t.Errorf("%q is rightly empty and is no query", where)
	}
	t.Logf("ran %d queries of %d dashboards", queries, len(all))
	return plots
}
