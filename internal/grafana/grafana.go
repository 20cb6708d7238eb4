// Package grafana reads dashboards as files, for the tests that run their queries
// and for the plots of them in the documentation.
package grafana

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Dashboard is what is looked at of a dashboard's file.
type Dashboard struct {
	File          string `json:"-"` // the name without its folder and .json
	UID           string
	Title         string
	SchemaVersion int
	Panels        []Panel
	Templating    struct{ List []Variable }
	Annotations   struct{ List []Annotation }
	Links         []Link
}

// Panel is a panel, or a row that only has a title.
type Panel struct {
	ID          int
	Type        string
	Title       string
	Description string
	Links       []Link
	Targets     []Query
	GridPos     struct{ X, Y, W, H int }
	Datasource  Datasource
	FieldConfig struct {
		Defaults struct {
			Unit   string
			Custom struct{ LineInterpolation string }
		}
	}
}

// Query is a query of a panel.
type Query struct {
	RefID        string
	Expr         string
	LegendFormat string
	Instant      bool
	Datasource   Datasource
}

// Datasource is where a panel or a query takes its data from.
type Datasource struct{ Type, UID string }

// Variable is a choice above the panels.
type Variable struct{ Name, Type, Definition string }

// Annotation is a query whose results are marked in all panels.
type Annotation struct{ Name, Expr string }

// Link leads from a dashboard or a panel to somewhere else.
type Link struct{ Type, Title, URL string }

// Load reads all dashboards in a folder.
func Load(dir string) ([]Dashboard, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return nil, err
	}
	var all []Dashboard
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var d Dashboard
		if err := json.Unmarshal(data, &d); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		d.File = strings.TrimSuffix(filepath.Base(file), ".json")
		all = append(all, d)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s holds no dashboard", dir)
	}
	return all, nil
}

// Expand puts values in place of a query's variables, as Grafana does with
// everything chosen: rates are over window, the range of time shown is shown.
func Expand(expr string, window, shown time.Duration) string {
	seconds := func(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }
	return strings.NewReplacer(
		"$__rate_interval", seconds(window),
		"$__range", seconds(shown),
		"$connector", ".*",
		"$topic", ".*",
	).Replace(expr)
}

// Legend names a series as a query's legendFormat says.
func Legend(format string, labels map[string]string) string {
	for name, value := range labels {
		format = strings.ReplaceAll(format, "{{"+name+"}}", value)
	}
	return strings.TrimSpace(format)
}
