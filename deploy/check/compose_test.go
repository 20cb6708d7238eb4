package check

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
)

const compose = "../compose"

// project reads the compose file as Docker Compose does: its schema, its variables, and
// what its services say of one another.
func project(t *testing.T) *types.Project {
	t.Helper()
	path := filepath.Join(compose, "docker-compose.yml")
	p, err := loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  compose,
		ConfigFiles: []types.ConfigFile{{Filename: path}},
		Environment: types.Mapping{},
	})
	if err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return p
}

func TestCompose(t *testing.T) {
	t.Parallel()
	p := project(t)
	for _, name := range []string{"redpanda", "timescaledb", "connector", "prometheus", "grafana", "console"} {
		if _, err := p.GetService(name); err != nil {
			t.Errorf("docker-compose.yml: %v", err)
		}
	}
	for name, s := range p.Services {
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("docker-compose.yml: %s: port %d is published beyond the loopback interface", name, port.Target)
			}
		}
		if s.Build == nil && !regexp.MustCompile(`:[^:/]+$`).MatchString(s.Image) || strings.HasSuffix(s.Image, ":latest") {
			t.Errorf("docker-compose.yml: %s: the image %s names no version", name, s.Image)
		}
		for _, volume := range s.Volumes {
			if volume.Type != types.VolumeTypeBind {
				continue
			}
			if !volume.ReadOnly {
				t.Errorf("docker-compose.yml: %s: %s can be written to", name, volume.Source)
			}
			if _, err := os.Stat(volume.Source); err != nil {
				t.Errorf("docker-compose.yml: %s: %v", name, err)
			}
		}
	}
	connector := p.Services["connector"]
	if !connector.ReadOnly || !slices.Equal(connector.CapDrop, []string{"ALL"}) || connector.StopGracePeriod == nil {
		t.Errorf("docker-compose.yml: connector: read_only is %v, cap_drop %v, stop_grace_period %v", connector.ReadOnly, connector.CapDrop, connector.StopGracePeriod)
	}
	if connector.Build == nil {
		t.Fatal("docker-compose.yml: connector: it is not built")
	}
	if _, err := os.Stat(filepath.Join(connector.Build.Context, connector.Build.Dockerfile)); err != nil {
		t.Errorf("docker-compose.yml: connector: %v", err)
	}
	if strings.Contains(p.Services["timescaledb"].Image, "-oss") {
		t.Error("docker-compose.yml: timescaledb: the image is not the Community edition")
	}
}

// mounted is where a service finds a file of deploy.
func mounted(t *testing.T, service, source string) string {
	t.Helper()
	want, err := filepath.Abs(source)
	if err != nil {
		t.Fatal(err)
	}
	for _, volume := range project(t).Services[service].Volumes {
		have, err := filepath.Abs(volume.Source)
		if err == nil && volume.Type == types.VolumeTypeBind && have == want {
			return volume.Target
		}
	}
	t.Errorf("docker-compose.yml: %s: %s is not mounted", service, source)
	return ""
}

// TestComposeConfigurations: the files of the other services have only keys that are
// listed here, and lead to services and mounts that are there.
func TestComposeConfigurations(t *testing.T) {
	t.Parallel()
	connector := "connector:8083"
	if _, err := project(t).GetService("connector"); err != nil {
		t.Fatal(err)
	}

	var prometheus struct {
		Global struct {
			ScrapeInterval string `json:"scrape_interval"`
		} `json:"global"`
		RuleFiles     []string `json:"rule_files"`
		ScrapeConfigs []struct {
			JobName       string `json:"job_name"`
			StaticConfigs []struct {
				Targets []string `json:"targets"`
			} `json:"static_configs"`
		} `json:"scrape_configs"`
	}
	strict(t, filepath.Join(compose, "prometheus.yml"), &prometheus)
	if s := prometheus.ScrapeConfigs; len(s) != 1 || len(s[0].StaticConfigs) != 1 || !slices.Equal(s[0].StaticConfigs[0].Targets, []string{connector}) {
		t.Errorf("prometheus.yml: it scrapes %+v", s)
	}
	if rules := mounted(t, "prometheus", "../prometheus") + "/alerts.yml"; !slices.Equal(prometheus.RuleFiles, []string{rules}) {
		t.Errorf("prometheus.yml: rule_files are %v, mounted are %s", prometheus.RuleFiles, rules)
	}
	if mounted(t, "prometheus", filepath.Join(compose, "prometheus.yml")) != "/etc/prometheus/prometheus.yml" {
		t.Error("prometheus.yml: it is not where Prometheus reads it")
	}

	var console struct {
		Kafka struct {
			Brokers []string `json:"brokers"`
		} `json:"kafka"`
		KafkaConnect struct {
			Enabled  bool `json:"enabled"`
			Clusters []struct {
				Name string `json:"name"`
				URL  string `json:"url"`
			} `json:"clusters"`
		} `json:"kafkaConnect"`
	}
	strict(t, filepath.Join(compose, "console.yml"), &console)
	if c := console.KafkaConnect; !c.Enabled || len(c.Clusters) != 1 || c.Clusters[0].Name == "" || c.Clusters[0].URL != "http://"+connector {
		t.Errorf("console.yml: kafkaConnect is %+v", c)
	}
	if path := project(t).Services["console"].Environment["CONFIG_FILEPATH"]; path == nil || *path != mounted(t, "console", filepath.Join(compose, "console.yml")) {
		t.Error("console.yml: CONFIG_FILEPATH does not name it")
	}

	var datasources struct {
		APIVersion  int `json:"apiVersion"`
		Datasources []struct {
			Name           string            `json:"name"`
			UID            string            `json:"uid"`
			Type           string            `json:"type"`
			URL            string            `json:"url"`
			User           string            `json:"user"`
			IsDefault      bool              `json:"isDefault"`
			JSONData       map[string]any    `json:"jsonData"`
			SecureJSONData map[string]string `json:"secureJsonData"`
		} `json:"datasources"`
	}
	strict(t, filepath.Join(compose, "grafana/datasources.yml"), &datasources)
	urls := map[string]string{}
	for _, d := range datasources.Datasources {
		urls[d.UID] = d.URL
	}
	if urls["prometheus"] != "http://prometheus:9090" || urls["timescaledb"] != "timescaledb:5432" || datasources.APIVersion != 1 {
		t.Errorf("grafana/datasources.yml: they are %v", urls)
	}

	var dashboards struct {
		APIVersion int `json:"apiVersion"`
		Providers  []struct {
			Name    string `json:"name"`
			Type    string `json:"type"`
			Options struct {
				Path string `json:"path"`
			} `json:"options"`
		} `json:"providers"`
	}
	strict(t, filepath.Join(compose, "grafana/dashboards.yml"), &dashboards)
	if d := dashboards.Providers; len(d) != 1 || d[0].Type != "file" || d[0].Options.Path != mounted(t, "grafana", "../grafana/dashboards") {
		t.Errorf("grafana/dashboards.yml: providers are %+v", d)
	}
	for _, file := range []string{"datasources", "dashboards"} {
		if target := mounted(t, "grafana", filepath.Join(compose, "grafana", file+".yml")); filepath.Dir(target) != "/etc/grafana/provisioning/"+file {
			t.Errorf("grafana/%s.yml: it is mounted at %s", file, target)
		}
	}
}
