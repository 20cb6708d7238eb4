package e2e

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// monitor is a real Prometheus that scrapes replicas each second and evaluates the
// rules of deploy/prometheus.
type monitor struct {
	t      testing.TB
	server *devstack.Prometheus
}

// shortFor is what the rules' for is here, so that a test need not wait minutes. The
// expressions are as they are deployed.
const shortFor = "2s"

var forOfRule = regexp.MustCompile(`(?m)^( +for:) \w+$`)

func newMonitor(t testing.TB) *monitor {
	t.Helper()
	rules, err := os.ReadFile("../../deploy/prometheus/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	server := testenv.Prometheus(t, devstack.PrometheusOptions{
		Config: `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [alerts.yml]
scrape_configs:
  - job_name: tickconnect
    file_sd_configs: [{files: [targets.json], refresh_interval: 1s}]
`,
		Files: map[string]string{
			"alerts.yml":   forOfRule.ReplaceAllString(string(rules), "$1 "+shortFor),
			"targets.json": "[]",
		},
	})
	return &monitor{t, server}
}

// scrape has the server scrape a replica from now on, in place of any before.
func (m *monitor) scrape(r *replica) {
	m.t.Helper()
	address := strings.TrimPrefix(r.waitServing(), "http://")
	targets := fmt.Sprintf(`[{"targets": [%q], "labels": {"instance": %q}}]`, address, r.id)
	if err := m.server.Write("targets.json", targets); err != nil {
		m.t.Fatal(err)
	}
}

// measured is a value of a series, with its time.
type measured struct {
	at    time.Time
	value float64
}

// UnmarshalJSON reads [1767323045.123, "1.5"].
func (p *measured) UnmarshalJSON(data []byte) error {
	var at float64
	var value string
	if err := json.Unmarshal(data, &[]any{&at, &value}); err != nil {
		return err
	}
	p.at = time.UnixMilli(int64(math.Round(at * 1000)))
	var err error
	p.value, err = strconv.ParseFloat(value, 64)
	return err
}

// timeSeries is one of a query's results: of an instant query it has one value.
type timeSeries struct {
	Metric map[string]string
	Value  *measured
	Values []measured
}

// hasData says whether any value is a number.
func (s *timeSeries) hasData() bool {
	return slices.ContainsFunc(s.Values, func(m measured) bool { return !math.IsNaN(m.value) && !math.IsInf(m.value, 0) })
}

// api asks the server, which must know what is meant.
func (m *monitor) api(path string, args url.Values, into any) error {
	req, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, m.server.URL()+path+"?"+args.Encode(), nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("%s: %s, %w", path, resp.Status, err)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", path, answer.Error)
	}
	return json.Unmarshal(answer.Data, into)
}

// query evaluates an expression now.
func (m *monitor) query(expr string) ([]timeSeries, error) {
	var data struct{ Result []timeSeries }
	err := m.api("/api/v1/query", url.Values{"query": {expr}}, &data)
	for i := range data.Result {
		if v := data.Result[i].Value; v != nil {
			data.Result[i].Values = []measured{*v}
		}
	}
	return data.Result, err
}

// queryRange evaluates an expression each second.
func (m *monitor) queryRange(expr string, from, to time.Time) ([]timeSeries, error) {
	unix := func(t time.Time) string { return strconv.FormatFloat(float64(t.UnixMilli())/1000, 'f', 3, 64) }
	var data struct{ Result []timeSeries }
	err := m.api("/api/v1/query_range", url.Values{"query": {expr}, "start": {unix(from)}, "end": {unix(to)}, "step": {"1"}}, &data)
	return data.Result, err
}

// number is the value of an expression with one result; NaN where there is none.
func (m *monitor) number(expr string) float64 {
	m.t.Helper()
	result, err := m.query(expr)
	if err != nil {
		m.t.Fatal(err)
	}
	if len(result) != 1 || len(result[0].Values) != 1 {
		return math.NaN()
	}
	return result[0].Values[0].value
}

// waitScrapes waits until a replica was scraped so often again.
func (m *monitor) waitScrapes(r *replica, n int) {
	m.t.Helper()
	scrapes := func() float64 {
		return m.number(fmt.Sprintf(`sum(count_over_time(up{instance=%q}[1h]))`, r.id))
	}
	before := scrapes()
	if math.IsNaN(before) {
		before = 0
	}
	eventually(m.t, limit+time.Duration(2*n)*time.Second, func() string {
		if now := scrapes(); now < before+float64(n) || math.IsNaN(now) {
			return fmt.Sprintf("%s was scraped %v times, want %v", r.id, now, before+float64(n))
		}
		return ""
	})
}

// firing gives the alerts that fire, as their names and labels.
func (m *monitor) firing() []string {
	m.t.Helper()
	result, err := m.query(`ALERTS{alertstate="firing"}`)
	if err != nil {
		m.t.Fatal(err)
	}
	var names []string
	for _, s := range result {
		names = append(names, strings.TrimSpace(fmt.Sprint(s.Metric["alertname"], " ", s.Metric["topic"], " ", s.Metric["reason"])))
	}
	slices.Sort(names)
	return names
}

// waitFiring waits until the alert fires, with these words among its labels.
func (m *monitor) waitFiring(alert string, words ...string) {
	m.t.Helper()
	eventually(m.t, limit, func() string {
		names := m.firing()
		for _, name := range names {
			if strings.HasPrefix(name, alert) && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(name, w) }) {
				return ""
			}
		}
		return fmt.Sprintf("%s %q does not fire, but %q", alert, words, names)
	})
	m.t.Logf("%s fires %s", alert, strings.Join(words, " "))
}

// waitQuiet waits until the alert fires no more.
func (m *monitor) waitQuiet(alert string) {
	m.t.Helper()
	eventually(m.t, limit, func() string {
		for _, name := range m.firing() {
			if strings.HasPrefix(name, alert) {
				return name + " still fires"
			}
		}
		return ""
	})
}

// rule is how a rule fares.
type rule struct {
	Name, Health, LastError string
	Alerts                  []struct {
		State       string
		Labels      map[string]string
		Annotations map[string]string
	}
}

func (m *monitor) rules() []rule {
	m.t.Helper()
	var data struct{ Groups []struct{ Rules []rule } }
	if err := m.api("/api/v1/rules", nil, &data); err != nil {
		m.t.Fatal(err)
	}
	var all []rule
	for _, g := range data.Groups {
		all = append(all, g.Rules...)
	}
	return all
}
