package main

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
	"github.com/qicore/tickconnect/internal/grafana"
)

const (
	dashboardsFolder = "../../deploy/grafana/dashboards"
	prometheusFolder = "../../deploy/prometheus"
	runbookURL       = "https://github.com/qicore/tickconnect/blob/main/docs/runbook.md"
)

// alertRule is a rule of deploy/prometheus/alerts.yml.
type alertRule struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alertRules(t *testing.T) []alertRule {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(prometheusFolder, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []alertRule
		}
	}
	if err := yaml.UnmarshalWithOptions(data, &file, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	var all []alertRule
	for _, g := range file.Groups {
		all = append(all, g.Rules...)
	}
	if len(all) < 10 {
		t.Fatalf("found %d alerts", len(all))
	}
	return all
}

func dashboards(t *testing.T) []grafana.Dashboard {
	t.Helper()
	all, err := grafana.Load(dashboardsFolder)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// exported knows the labels of each metric that can be scraped.
type exported map[string][]string

// exportedMetrics are those of a process, with the names that a histogram has, and
// what Prometheus adds.
func exportedMetrics(t *testing.T) exported {
	t.Helper()
	lines, names := registered(t)
	e := exported{"up": nil, "ALERTS": {"alertname", "alertstate", "severity"}}
	for _, name := range names { // Go's and the operating system's have no labels that we use
		e[name] = nil
	}
	for _, line := range lines {
		cells := strings.Split(line, " | ")
		name := metricNames.FindString(cells[0])
		var its []string
		if cells[2] != "" {
			its = strings.Split(cells[2], ", ")
		}
		if cells[1] != "histogram" {
			e[name] = its
			continue
		}
		e[name+"_sum"], e[name+"_count"] = its, its
		e[name+"_bucket"] = append(slices.Clone(its), "le")
	}
	return e
}

// wrong says what an expression asks for that nothing exports. It gives the labels
// that its series may have, too.
func (e exported) wrong(expr string) (problems []string, known map[string]bool) {
	known = map[string]bool{"job": true, "instance": true} // each scrape has these
	tree, err := parser.ParseExpr(expr)
	if err != nil {
		return []string{err.Error()}, known
	}
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		its, ok := e[v.Name]
		if !ok {
			problems = append(problems, fmt.Sprintf("there is no metric %q", v.Name))
			return nil
		}
		for _, l := range its {
			known[l] = true
		}
		for _, m := range v.LabelMatchers {
			if m.Name != labels.MetricName && m.Name != "job" && m.Name != "instance" && !slices.Contains(its, m.Name) {
				problems = append(problems, fmt.Sprintf("%s has no label %q", v.Name, m.Name))
			}
		}
		return nil
	})
	parser.Inspect(tree, func(n parser.Node, _ []parser.Node) error {
		var used []string
		switch n := n.(type) {
		case *parser.AggregateExpr:
			used = n.Grouping
		case *parser.BinaryExpr:
			if n.VectorMatching != nil {
				used = n.VectorMatching.MatchingLabels
			}
		}
		for _, l := range used {
			if !known[l] {
				problems = append(problems, fmt.Sprintf("no metric of %s has a label %q", n, l))
			}
		}
		return nil
	})
	return problems, known
}

var (
	legendLabel     = regexp.MustCompile(`\{\{\s*([a-z_]+)\s*\}\}`)
	annotationLabel = regexp.MustCompile(`\$labels\.([a-z_]+)`)
	labelValues     = regexp.MustCompile(`^label_values\((.+), ([a-z_]+)\)$`)
)

// TestSeeingUsesWhatIsExported: dashboards and alerts ask for metrics and labels that
// a process really has, and name no others in legends and texts.
func TestSeeingUsesWhatIsExported(t *testing.T) {
	t.Parallel()
	e := exportedMetrics(t)
	check := func(where, expr, text string, label *regexp.Regexp) {
		t.Helper()
		problems, known := e.wrong(grafana.Expand(expr, time.Minute, time.Hour))
		for _, problem := range problems {
			t.Errorf("%s: %s", where, problem)
		}
		for _, m := range label.FindAllStringSubmatch(text, -1) {
			if !known[m[1]] {
				t.Errorf("%s: its text has a label %q, its metrics have not", where, m[1])
			}
		}
	}
	for _, d := range dashboards(t) {
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				check(fmt.Sprintf("%s, %s %s", d.File, p.Title, q.RefID), q.Expr, q.LegendFormat, legendLabel)
			}
		}
		for _, a := range d.Annotations.List {
			if a.Expr != "" {
				check(d.File+", "+a.Name, a.Expr, "", legendLabel)
			}
		}
		for _, v := range d.Templating.List {
			if v.Type != "query" {
				continue
			}
			m := labelValues.FindStringSubmatch(v.Definition)
			if m == nil {
				t.Errorf("%s: variable %s is %s", d.File, v.Name, v.Definition)
				continue
			}
			check(d.File+", "+v.Name, m[1], "{{"+m[2]+"}}", legendLabel)
		}
	}
	for _, r := range alertRules(t) {
		check(r.Alert, r.Expr, strings.Join(slices.Collect(maps.Values(r.Annotations)), " "), annotationLabel)
	}
}

// TestSeeingIsChecked: what the check is there for is found.
func TestSeeingIsChecked(t *testing.T) {
	t.Parallel()
	e := exportedMetrics(t)
	for _, test := range []struct{ expr, want string }{
		{`sum by (connector) (rate(tickconnect_put_seconds_bucket{le="1"}[5m]))`, ""},
		{`process_start_time_seconds and on (job, instance) tickconnect_build_info{version="v1"}`, ""},
		{`tickconnect_put_second_count`, `no metric "tickconnect_put_second_count"`},
		{`tickconnect_put_seconds`, `no metric "tickconnect_put_seconds"`}, // a histogram has no series of its own name
		{`tickconnect_lag_offsets{symbol="BTC"}`, `no label "symbol"`},
		{`sum by (reason) (tickconnect_lag_offsets)`, `label "reason"`},
		{`tickconnect_healthy and on (pod) tickconnect_build_info`, `label "pod"`},
		{`sum(`, "parse error"},
	} {
		problems, _ := e.wrong(test.expr)
		if got := strings.Join(problems, "; "); !strings.Contains(got, test.want) || test.want == "" && got != "" {
			t.Errorf("%s: found %q, want %q", test.expr, got, test.want)
		}
	}
}

// TestDashboardsAreWhole: what Grafana and a person need of a dashboard is there.
func TestDashboardsAreWhole(t *testing.T) {
	t.Parallel()
	anchors := map[string]bool{"": true}
	for _, name := range runbookEntries(t) {
		anchors["#"+strings.ToLower(name)] = true
	}
	uids := map[string]bool{}
	for _, d := range dashboards(t) {
		if uids[d.UID] || !strings.HasPrefix(d.UID, "tickconnect-") || d.Title == "" || d.SchemaVersion < 41 {
			t.Errorf("%s: uid %q, title %q, schemaVersion %d", d.File, d.UID, d.Title, d.SchemaVersion)
		}
		uids[d.UID] = true
		if names := fmt.Sprint(d.Templating.List); !strings.Contains(names, "{datasource datasource") || !strings.Contains(names, "{connector query") || !strings.Contains(names, "{topic query") {
			t.Errorf("%s: its variables are %s", d.File, names)
		}
		ids, cells := map[int]bool{}, map[[2]int]string{}
		links := d.Links
		for _, p := range d.Panels {
			where := d.File + ", " + p.Title
			if ids[p.ID] || p.Title == "" {
				t.Errorf("%s: id %d is there twice, or it has no title", where, p.ID)
			}
			ids[p.ID] = true
			g := p.GridPos
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
						t.Fatalf("%s lies over %q or outside", where, other)
					}
					cells[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				continue
			}
			links = append(links, p.Links...)
			if p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
				t.Errorf("%s lacks a description, a unit, a query or the data source's variable", where)
			}
			for _, q := range p.Targets {
				if q.Datasource != p.Datasource || len(p.Targets) > 1 && q.LegendFormat == "" {
					t.Errorf("%s %s: data source %v, legend %q", where, q.RefID, q.Datasource, q.LegendFormat)
				}
			}
		}
		for _, l := range links {
			if anchor, ours := strings.CutPrefix(l.URL, runbookURL); l.Type != "dashboards" && (!ours || !anchors[anchor]) {
				t.Errorf("%s links to %q, which is no entry of the runbook", d.File, l.URL)
			}
		}
	}
}

// runbookEntries are the alerts that docs/runbook.md has an entry for.
func runbookEntries(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range strings.Split(string(page), "\n### ")[1:] {
		name, text, _ := strings.Cut(entry, "\n")
		names = append(names, name)
		for _, part := range []string{"**Means.**", "**Is data at risk?**", "**Look at.**", "**Do.**"} {
			if !strings.Contains(text, part) {
				t.Errorf("docs/runbook.md: %s has no part %s", name, part)
			}
		}
	}
	return names
}

// TestAlertsHaveEntries: each alert has an entry in the runbook and names it, each
// entry has its alert, and each alert says how bad it is and what to do first.
func TestAlertsHaveEntries(t *testing.T) {
	t.Parallel()
	var alerts []string
	for _, r := range alertRules(t) {
		alerts = append(alerts, r.Alert)
		if severity := r.Labels["severity"]; severity != "critical" && severity != "warning" {
			t.Errorf("%s: severity %q", r.Alert, severity)
		}
		if want := runbookURL + "#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
			t.Errorf("%s: runbook_url is %q, want %q", r.Alert, r.Annotations["runbook_url"], want)
		}
		if r.Annotations["summary"] == "" || !strings.Contains(strings.ToLower(r.Annotations["description"]), "first") {
			t.Errorf("%s: its annotations are %v", r.Alert, r.Annotations)
		}
	}
	entries := runbookEntries(t)
	slices.Sort(alerts)
	slices.Sort(entries)
	if !slices.Equal(alerts, entries) {
		t.Errorf("the alerts are\n%q, docs/runbook.md has\n%q", alerts, entries)
	}
}

// TestAlertRules: Prometheus' own tool takes the rules, and its tests pass: each
// alert is seen firing there, and none fires on a healthy system.
func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool := testenv.Promtool(t)
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = prometheusFolder
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	cases, err := os.ReadFile(filepath.Join(prometheusFolder, "alerts_test.yml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range alertRules(t) {
		fires := regexp.MustCompile(`labels: 'ALERTS\{alertname="` + r.Alert + `", alertstate="firing"|alertname: ` + r.Alert + `\n.*\n +exp_alerts:\n`)
		if !fires.Match(cases) {
			t.Errorf("no case of alerts_test.yml has %s fire", r.Alert)
		}
	}
}
