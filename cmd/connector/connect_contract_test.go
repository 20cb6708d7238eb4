package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestKafkaConnectContract: what clients of Kafka Connect send, and what they need to
// find in the answers. The calls are those of kcctl, connect-client (which Redpanda
// Console uses), kafbat UI, Strimzi and Terraform.
func TestKafkaConnectContract(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	p := startConnector(t, s.worker(t, "contract"))
	class := `"connector.class":"timescale-sink"`

	// kcctl parses the version and chooses its calls by it.
	var version [2]int
	root := p.want(t, 200, `"kafka_cluster_id"`, "GET", "/", "").(map[string]any)
	if n, err := fmt.Sscanf(root["version"].(string), "%d.%d", &version[0], &version[1]); n != 2 || err != nil || version[0] < 3 {
		t.Errorf("the version is %v", root["version"])
	}

	t.Run("errors", func(t *testing.T) {
		for _, tt := range []struct {
			method, path, body string
			code               int
			message            string
		}{
			{"GET", "/connectors/none", "", 404, "Connector none not found"},
			{"GET", "/connectors/none/config", "", 404, "Connector none not found"},
			{"GET", "/connectors/none/tasks", "", 404, "Connector none not found"},
			{"GET", "/connectors/none/offsets", "", 404, "Connector none not found"},
			{"DELETE", "/connectors/none/offsets", "", 404, "Connector none not found"},
			{"DELETE", "/connectors/none", "", 404, "Connector none not found"},
			{"PATCH", "/connectors/none/config", "{}", 404, "Connector none not found"},
			{"GET", "/connectors/none/status", "", 404, "No status found for connector none"},
			{"GET", "/connectors/none/tasks/0/status", "", 404, "No status found for task none-0"},
			{"PUT", "/connectors/none/pause", "", 404, "Unknown connector none"},
			{"PUT", "/connectors/none/resume", "", 404, "Unknown connector none"},
			{"PUT", "/connectors/none/stop", "", 404, "Unknown connector none"},
			{"POST", "/connectors/none/restart?includeTasks=false&onlyFailed=false", "", 404, "Unknown connector: none"},
			{"POST", "/connectors/none/tasks/0/restart", "", 404, "Unknown connector: none"},
			{"GET", "/nowhere", "", 404, "HTTP 404 Not Found"},
			{"POST", "/connectors/none/pause", "", 405, "HTTP 405 Method Not Allowed"},
			{"DELETE", "/", "", 405, "HTTP 405 Method Not Allowed"},
			{"POST", "/connectors", "", 400, "the request has no body"},
			{"POST", "/connectors", "{", 400, "not the JSON"},
			{"POST", "/connectors", `[]`, 400, "not the JSON"},
			{"POST", "/connectors", `{"name":"a","config":{},"more":1}`, 400, "more"},
			{"POST", "/connectors", `{"config":{}}`, 400, "connector name may not be null or empty"},
			{"POST", "/connectors", `{"name":"  ","config":{}}`, 400, "connector name may not be null or empty"},
			{"POST", "/connectors", `{"name":"a"}`, 400, "no config"},
			{"POST", "/connectors", `{"name":"a","config":{"topics":"t"}}`, 400, "contains no connector type"},
			{"POST", "/connectors", `{"name":"a","config":{` + class + `,"name":"b"}}`, 400, "doesn't match connector name"},
			{"POST", "/connectors", `{"name":"a","initial_state":"ASLEEP","config":{` + class + `}}`, 400, "initial_state"},
			{"POST", "/connectors", `{"name":"a","config":{"connector.class":"org.example.FooSinkConnector"}}`, 400, "Failed to find any class that implements Connector and which name matches org.example.FooSinkConnector, available connectors are: timescale-sink"},
			{"POST", "/connectors", `{"name":"a","config":{` + class + `,"topics":{"a":1}}}`, 400, "topics: a value is a text"},
			{"POST", "/connectors", `{"name":"a","config":{` + class + `,"topics":"t","connection.url":"postgres://h/d","tasks.mx":"2"}}`, 400, "did you mean tasks.max"},
			{"PUT", "/connectors/a/config", `{` + class + `,"topics":null,"topics.regex":"t","connection.url":"postgres://h/d"}`, 400, "1 error(s)"},
			{"PUT", "/connectors/%20/config", `{` + class + `,"topics":"t","connection.url":"postgres://h/d"}`, 400, "connector name"},
			{"PUT", "/connectors/%20a/config", `{` + class + `,"topics":"t","connection.url":"postgres://h/d"}`, 400, "connector name"},
			{"PUT", "/connectors/a%00/config", `{` + class + `,"topics":"t","connection.url":"postgres://h/d"}`, 400, "connector name"},
			{"PUT", "/connectors/%ff/config", `{` + class + `,"topics":"t","connection.url":"postgres://h/d"}`, 400, "connector name"},
			{"POST", "/connectors", `{"name":"a\nb","config":{` + class + `,"topics":"t","connection.url":"postgres://h/d"}}`, 400, "connector name"},
			{"GET", "/connector-plugins/none/config", "", 404, "Unknown plugin none."},
			{"PUT", "/connector-plugins/none/config/validate", `{` + class + `}`, 400, "does not match request type none"},
			{"GET", "/admin/loggers/none", "", 404, "Logger none not found."},
			{"PUT", "/admin/loggers/root", `{}`, 400, "'level' parameter"},
			{"PUT", "/admin/loggers/root", `{"level":"LOUD"}`, 404, "LOUD"},
			{"PUT", "/admin/loggers/root?scope=cluster", `{"level":"LOUD"}`, 404, "LOUD"},
		} {
			code, answer := p.call(t, tt.method, tt.path, tt.body)
			body, _ := answer.(map[string]any)
			message, _ := body["message"].(string)
			if code != tt.code || body["error_code"] != float64(tt.code) || !strings.Contains(message, tt.message) {
				t.Errorf("%s %s %s: %d %v, want %d and %q", tt.method, tt.path, tt.body, code, answer, tt.code, tt.message)
			}
		}
		if _, names := p.call(t, "GET", "/connectors", ""); fmt.Sprint(names) != "[]" {
			t.Errorf("there are connectors after nothing but errors: %v", names)
		}
	})

	t.Run("headers", func(t *testing.T) {
		for _, tt := range []struct {
			name, method, path string
			header             http.Header
			code               int
		}{
			{"connect-client sends an empty user", "GET", "/connectors", http.Header{"Authorization": {"Basic Og=="}, "Content-Type": {"application/json"}}, 200},
			{"a charset", "PUT", "/connectors/none/pause", http.Header{"Content-Type": {"application/json; charset=utf-8"}}, 404},
			{"no type", "PUT", "/connectors/none/pause", nil, 404},
			{"another type", "PUT", "/connectors/none/pause", http.Header{"Content-Type": {"text/plain"}}, 415},
			{"another type of answer", "GET", "/connectors", http.Header{"Accept": {"text/html"}}, 406},
			{"any type of answer", "GET", "/connectors/", http.Header{"Accept": {"text/html, */*;q=0.1"}}, 200},
		} {
			if code, _, answer := p.send(t, tt.method, tt.path, "", tt.header); code != tt.code {
				t.Errorf("%s: %d %v, want %d", tt.name, code, answer, tt.code)
			}
		}
	})

	t.Run("names", func(t *testing.T) {
		for name, path := range map[string]string{
			"a->b": "a-%3Eb", "with space": "with%20space", "a/b": "a%2Fb", "ä+%": "%C3%A4+%25",
		} {
			body, _ := json.Marshal(map[string]any{"name": name, "initial_state": "stopped", "config": map[string]any{
				"connector.class": "timescale-sink", "topics": "t", "connection.url": "postgres://h/d", "tasks.max": 3,
			}})
			code, header, answer := p.send(t, "POST", "/connectors", string(body), nil)
			if code != 201 {
				t.Errorf("%s: %d %v", name, code, answer)
			}
			info := p.want(t, 200, "", "GET", "/connectors/"+path, "").(map[string]any)
			if info["name"] != name || info["config"].(map[string]any)["tasks.max"] != "3" {
				t.Errorf("%s is %v", name, info)
			}
			p.want(t, 204, "", "DELETE", header.Get("Location"), "")
		}
	})

	t.Run("plugins", func(t *testing.T) {
		plugins := p.want(t, 200, "", "GET", "/connector-plugins?connectorsOnly=false", "").([]any)
		if len(plugins) != 1 || plugins[0].(map[string]any)["class"] != "timescale-sink" || plugins[0].(map[string]any)["type"] != "sink" {
			t.Errorf("the plugins are %v", plugins)
		}
		types := []string{"BOOLEAN", "STRING", "INT", "SHORT", "LONG", "DOUBLE", "LIST", "CLASS", "PASSWORD"} // kafbat knows no others
		keys := p.want(t, 200, "", "GET", "/connector-plugins/timescale-sink/config", "").([]any)
		if len(keys) < 50 {
			t.Errorf("there are %d keys", len(keys))
		}
		for i, k := range keys {
			key := k.(map[string]any)
			if !slices.Contains(types, key["type"].(string)) || !slices.Contains([]string{"HIGH", "MEDIUM", "LOW"}, key["importance"].(string)) ||
				key["documentation"] == "" || key["order"] != float64(i+1) || (key["default_value"] == nil) != (key["required"] == true) {
				t.Errorf("the definition is %v", key)
			}
		}
	})

	t.Run("validate", func(t *testing.T) {
		// Console's wizard sends what is typed so far.
		answer := p.want(t, 200, "", "PUT", "/connector-plugins/timescale-sink/config/validate",
			`{`+class+`,"topics":"t","tasks.max":"0","connection.url":"postgres://h/d","connection.password":"geheim1","flush":"1"}`).(map[string]any)
		errs := map[string]string{}
		for _, c := range answer["configs"].([]any) {
			one := c.(map[string]any)
			value, definition := one["value"].(map[string]any), one["definition"].(map[string]any)
			if value["name"] != definition["name"] || definition["name"] == "" {
				t.Errorf("%v", one)
			}
			for _, text := range value["errors"].([]any) {
				errs[value["name"].(string)] += text.(string)
			}
			if value["name"] == "connection.password" && value["value"] != "[hidden]" {
				t.Errorf("the password is %v", value)
			}
		}
		if answer["error_count"] != float64(3) || !strings.Contains(errs["tasks.max"], "tasks.max") || errs["flush"] == "" || !strings.Contains(errs["name"], "Missing required") {
			t.Errorf("%v errors: %v", answer["error_count"], errs)
		}
		// kcctl's dry run.
		p.want(t, 200, `"error_count":0`, "PUT", "/connector-plugins/timescale-sink/config/validate", `{"name":"dummy-name",`+class+`,"topics":"t","connection.url":"postgres://h/d"}`)
	})

	t.Run("loggers", func(t *testing.T) {
		p.want(t, 200, `"root":{"last_modified":null,"level":"INFO"}`, "GET", "/admin/loggers/", "")
		p.want(t, 200, `["connector.market"]`, "PUT", "/admin/loggers/connector.market", `{"level":"debug"}`)
		p.want(t, 200, `"level":"DEBUG"`, "GET", "/admin/loggers/connector.market", "")
		p.want(t, 204, "", "PUT", "/admin/loggers/root?scope=cluster", `{"level":"WARN"}`)
		p.until(t, "the level of all replicas", "/admin/loggers/root", func(a any) bool { return a.(map[string]any)["level"] == "WARN" })
	})

	t.Run("states", func(t *testing.T) {
		p.want(t, 201, `"tasks":[]`, "POST", "/connectors", `{"name":"x","initial_state":"STOPPED","config":{`+class+`,"topics":"t","connection.url":"postgres://127.0.0.1:1/d"}}`)
		p.until(t, "made and stopped", "/connectors/x/status", in("STOPPED"))
		p.want(t, 202, "", "PUT", "/connectors/x/pause", "")
		p.until(t, "paused", "/connectors/x/status", in("PAUSED", "PAUSED", "PAUSED"))
		p.want(t, 200, `"id":{"connector":"x","task":0}`, "GET", "/connectors/x/tasks", "")
		p.want(t, 200, `"x-1"`, "GET", "/connectors/x/tasks-config", "")
		p.want(t, 200, `{"id":1,"state":"PAUSED"`, "GET", "/connectors/x/tasks/1/status", "")
		p.want(t, 404, "No status found for task x-one", "GET", "/connectors/x/tasks/one/status", "")
		p.want(t, 202, "", "PUT", "/connectors/x/topics/reset", "")
		p.want(t, 200, `{"x":{"topics":[]}}`, "GET", "/connectors/x/topics", "")
		// Terraform waits until what it reads is what it sent, with the name.
		sent := map[string]any{"connector.class": "timescale-sink", "topics": "u", "connection.url": "postgres://127.0.0.1:1/d", "name": "x"}
		body, _ := json.Marshal(sent)
		p.want(t, 200, "", "PUT", "/connectors/x/config", string(body))
		if got := p.want(t, 200, "", "GET", "/connectors/x/config", ""); fmt.Sprint(got) != fmt.Sprint(sent) {
			t.Errorf("it reads %v", got)
		}
		p.until(t, "a new configuration changes no state", "/connectors/x/status", in("PAUSED", "PAUSED", "PAUSED"))
	})
}
