package rest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/qicore/tickconnect/internal/herder"
)

// Connect is what Kafka Connect's API is over.
type Connect interface {
	// Wait waits, soon after the start, until it is known what is wanted.
	Wait(ctx context.Context)
	Names() []string
	Config(name string) (map[string]string, error)
	Status(name string) (herder.Status, error)
	// Statuses are those of all connectors, by name.
	Statuses() map[string]herder.Status
	TargetOf(name string) (herder.Target, error)
	// InFile says whether the configuration file has it, which alone changes it.
	InFile(name string) bool
	Topics(name string) []string
	ResetTopics(ctx context.Context, name string) error

	Create(ctx context.Context, name string, config map[string]string, target herder.Target) error
	// PutIf makes a connector or replaces its configuration, where good says so of the
	// one that there is; nil: there is none.
	PutIf(ctx context.Context, name string, config map[string]string, good func(now map[string]string) bool) (created bool, err error)
	// Patch replaces a configuration with what change makes of it.
	Patch(ctx context.Context, name string, change func(map[string]string) (map[string]string, error)) error
	Delete(ctx context.Context, name string) error
	SetTarget(ctx context.Context, name string, target herder.Target) error
	Restart(ctx context.Context, name string, includeTasks, onlyFailed bool) error
	RestartTask(ctx context.Context, name string, task int) error
	SetClusterLevel(ctx context.Context, logger, level string) error

	// Plugins are the kinds of connectors.
	Plugins() []Plugin
	// Plugin finds one by its class or by one of its other names.
	Plugin(class string) (Plugin, bool)
	// Validate checks a configuration by itself, without asking brokers or a target.
	Validate(config map[string]string) Checked

	// Offsets gives the next offsets to store.
	Offsets(ctx context.Context, name string) ([]Offset, error)
	// AlterOffsets has a stopped connector go on from other offsets: of those
	// partitions, or with nil of all from where offsets.initial says. A Next that is
	// nil is where that says, too. A dry run only says what would be done.
	AlterOffsets(ctx context.Context, name string, to []Offset, dryRun bool) (any, error)
}

// Offset is where a partition stands.
type Offset struct {
	Topic     string
	Partition int32
	Next      *int64
}

// api answers the requests that concern connectors.
type api struct {
	Connect
	loggers Loggers
}

func (a api) routes() map[string]routes {
	return map[string]routes{
		"/connectors":                                 {"GET": a.list, "POST": a.create},
		"/connectors/{name}":                          {"GET": a.info, "DELETE": a.remove},
		"/connectors/{name}/config":                   {"GET": a.config, "PUT": a.put, "PATCH": a.patch},
		"/connectors/{name}/status":                   {"GET": a.status},
		"/connectors/{name}/tasks":                    {"GET": a.tasks},
		"/connectors/{name}/tasks-config":             {"GET": a.tasksConfig},
		"/connectors/{name}/tasks/{task}/status":      {"GET": a.taskStatus},
		"/connectors/{name}/tasks/{task}/restart":     {"POST": a.restartTask},
		"/connectors/{name}/pause":                    {"PUT": a.target(herder.Paused, http.StatusAccepted)},
		"/connectors/{name}/resume":                   {"PUT": a.target(herder.Started, http.StatusAccepted)},
		"/connectors/{name}/stop":                     {"PUT": a.target(herder.Stopped, http.StatusNoContent)},
		"/connectors/{name}/restart":                  {"POST": a.restart},
		"/connectors/{name}/topics":                   {"GET": a.topics},
		"/connectors/{name}/topics/reset":             {"PUT": a.resetTopics},
		"/connectors/{name}/offsets":                  {"GET": a.offsets, "PATCH": a.alterOffsets, "DELETE": a.resetOffsets},
		"/connector-plugins":                          {"GET": a.plugins},
		"/connector-plugins/{plugin}/config":          {"GET": a.pluginConfig},
		"/connector-plugins/{plugin}/config/validate": {"PUT": a.validate},
		"/admin/loggers":                              {"GET": a.listLoggers},
		"/admin/loggers/{logger}":                     {"GET": a.logger, "PUT": a.setLogger},
	}
}

// connectorInfo is Kafka Connect's ConnectorInfo.
type connectorInfo struct {
	Name   string            `json:"name"`
	Config map[string]string `json:"config"`
	Tasks  []taskID          `json:"tasks"`
	Type   string            `json:"type"`
}

type taskID struct {
	Connector string `json:"connector"`
	Task      int    `json:"task"`
}

// connectorStatus is Kafka Connect's ConnectorStateInfo.
type connectorStatus struct {
	Name      string       `json:"name"`
	Connector partStatus   `json:"connector"`
	Tasks     []partStatus `json:"tasks"`
	Type      string       `json:"type"`
	// Delivery is ours: what the connector really gives, and why.
	Delivery string `json:"delivery,omitempty"`
}

type partStatus struct {
	ID       *int   `json:"id,omitempty"`
	State    string `json:"state"`
	WorkerID string `json:"worker_id"`
	Trace    string `json:"trace,omitempty"`
}

const typeSink = "sink"

// notFound says in Kafka Connect's words that there is no such connector.
func missing(err error, format, name string) error {
	if errors.Is(err, herder.ErrNotFound) {
		return refuse(http.StatusNotFound, format, name)
	}
	if errors.Is(err, herder.ErrFile) {
		return refuse(http.StatusBadRequest, "Connector %s %v", name, herder.ErrFile)
	}
	return err
}

const connectorNotFound = "Connector %s not found"

func (a api) list(r *http.Request) (reply, error) {
	expand := r.URL.Query()["expand"]
	if len(expand) == 0 {
		return ok(a.Names())
	}
	all := map[string]map[string]any{}
	for name, s := range a.Statuses() {
		one := map[string]any{}
		for _, what := range expand {
			switch what {
			case "info":
				if config, err := a.Config(name); err == nil {
					one["info"] = newInfo(name, config, s)
				}
			case "status":
				one["status"] = statusBody(s)
			}
		}
		all[name] = one
	}
	return ok(all)
}

func (a api) infoOf(name string) (connectorInfo, error) {
	config, err := a.Config(name)
	if err != nil {
		return connectorInfo{}, missing(err, connectorNotFound, name)
	}
	s, err := a.Status(name)
	if err != nil {
		return connectorInfo{}, missing(err, connectorNotFound, name)
	}
	return newInfo(name, config, s), nil
}

func newInfo(name string, config map[string]string, s herder.Status) connectorInfo {
	info := connectorInfo{Name: name, Config: config, Tasks: []taskID{}, Type: typeSink}
	for _, t := range s.Tasks {
		info.Tasks = append(info.Tasks, taskID{name, t.ID})
	}
	return info
}

func statusBody(s herder.Status) connectorStatus {
	body := connectorStatus{Name: s.Name, Connector: part(s.Connector, nil), Tasks: []partStatus{}, Type: typeSink, Delivery: s.Delivery}
	for _, t := range s.Tasks {
		body.Tasks = append(body.Tasks, part(t.Part, &t.ID))
	}
	return body
}

func part(p herder.Part, id *int) partStatus {
	s := partStatus{ID: id, State: p.State, WorkerID: p.WorkerID, Trace: p.Trace}
	if s.State == "FAILED" && s.Trace == "" {
		s.Trace = "no more is known" // clients read it of what has failed
	}
	return s
}

func (a api) info(r *http.Request) (reply, error) {
	info, err := a.infoOf(r.PathValue("name"))
	if err != nil {
		return reply{}, err
	}
	return ok(info)
}

func (a api) config(r *http.Request) (reply, error) {
	info, err := a.infoOf(r.PathValue("name"))
	if err != nil {
		return reply{}, err
	}
	return ok(info.Config)
}

func (a api) status(r *http.Request) (reply, error) {
	name := r.PathValue("name")
	s, err := a.Status(name)
	if err != nil {
		return reply{}, missing(err, "No status found for connector %s", name)
	}
	return ok(statusBody(s))
}

func (a api) tasks(r *http.Request) (reply, error) {
	info, err := a.infoOf(r.PathValue("name"))
	if err != nil {
		return reply{}, err
	}
	tasks := []map[string]any{}
	for _, t := range info.Tasks {
		tasks = append(tasks, map[string]any{"id": t, "config": taskConfig(info.Config)})
	}
	return ok(tasks)
}

func (a api) tasksConfig(r *http.Request) (reply, error) {
	info, err := a.infoOf(r.PathValue("name"))
	if err != nil {
		return reply{}, err
	}
	tasks := map[string]any{}
	for _, t := range info.Tasks {
		tasks[fmt.Sprintf("%s-%d", t.Connector, t.Task)] = taskConfig(info.Config)
	}
	return ok(tasks)
}

// taskConfig is that of the connector: tasks divide partitions, not keys.
func taskConfig(config map[string]string) map[string]string {
	c := maps.Clone(config)
	c["task.class"] = config["connector.class"]
	return c
}

func (a api) taskStatus(r *http.Request) (reply, error) {
	name := r.PathValue("name")
	s, err := a.Status(name)
	if err != nil {
		return reply{}, missing(err, "No status found for task %s-"+strings.ReplaceAll(r.PathValue("task"), "%", "%%"), name)
	}
	id, err := strconv.Atoi(r.PathValue("task"))
	for _, t := range s.Tasks {
		if err == nil && t.ID == id {
			return ok(part(t.Part, &t.ID))
		}
	}
	return reply{}, refuse(http.StatusNotFound, "No status found for task %s-%s", name, r.PathValue("task"))
}

// createBody is the body of POST /connectors.
type createBody struct {
	Name         *string        `json:"name"`
	Config       map[string]any `json:"config"`
	InitialState *string        `json:"initial_state"`
}

func (a api) create(r *http.Request) (reply, error) {
	var body createBody
	if err := read(r, &body); err != nil {
		return reply{}, err
	}
	name := ""
	if body.Name != nil {
		name = strings.TrimSpace(*body.Name)
	}
	switch {
	case name == "":
		return reply{}, refuse(http.StatusBadRequest, "connector name may not be null or empty")
	case body.Config == nil:
		return reply{}, refuse(http.StatusBadRequest, "the body has no config")
	}
	target := herder.Started
	if body.InitialState != nil {
		switch strings.ToUpper(*body.InitialState) {
		case "RUNNING":
		case "PAUSED":
			target = herder.Paused
		case "STOPPED":
			target = herder.Stopped
		default:
			return reply{}, refuse(http.StatusBadRequest, "initial_state: %q is none of RUNNING, PAUSED and STOPPED", *body.InitialState)
		}
	}
	config, err := a.checked(name, body.Config)
	if err != nil {
		return reply{}, err
	}
	if err := a.Create(r.Context(), name, config, target); errors.Is(err, herder.ErrExists) {
		return reply{}, refuse(http.StatusConflict, "Connector %s already exists", name)
	} else if err != nil {
		return reply{}, err
	}
	return a.made(name, http.StatusCreated)
}

func (a api) made(name string, code int) (reply, error) {
	info, err := a.infoOf(name)
	if err != nil {
		return reply{}, err
	}
	location := ""
	if code == http.StatusCreated {
		location = "/connectors/" + url.PathEscape(name)
	}
	return reply{code, info, location}, nil
}

// checked gives a configuration as it is kept: values as text, with the name.
func (a api) checked(name string, sent map[string]any) (map[string]string, error) {
	if name == "" || strings.TrimSpace(name) != name || strings.ContainsFunc(name, unicode.IsControl) || !utf8.ValidString(name) {
		return nil, refuse(http.StatusBadRequest, "connector name %q: it is empty, begins or ends with a space, or holds what is no text", name)
	}
	config, nulls, err := texts(sent)
	if err != nil {
		return nil, err
	}
	if given, has := config["name"]; has && strings.TrimSpace(given) != name {
		return nil, refuse(http.StatusBadRequest, "Connector name configuration (%s) doesn't match connector name (%s)", given, name)
	}
	config["name"] = name
	class := config["connector.class"]
	if class == "" {
		return nil, refuse(http.StatusBadRequest, "Connector config {%s} contains no connector type", strings.Join(slices.Sorted(maps.Keys(config)), ", "))
	}
	if _, known := a.Plugin(class); !known {
		return nil, a.noClass(class)
	}
	c := a.Validate(config)
	for _, key := range nulls {
		c.add(key, fmt.Sprintf("Invalid value null for configuration %s: must not be null", key))
	}
	if n := c.count(); n > 0 {
		var b strings.Builder
		fmt.Fprintf(&b, "Connector configuration is invalid and contains the following %d error(s):", n)
		for _, key := range slices.Sorted(maps.Keys(c.Errors)) {
			for _, text := range c.Errors[key] {
				b.WriteString("\n" + text)
			}
		}
		b.WriteString("\nYou can also find the above list of errors at the endpoint `/connector-plugins/{connectorType}/config/validate`")
		return nil, refuse(http.StatusBadRequest, "%s", b.String())
	}
	return config, nil
}

func (a api) noClass(class string) error {
	var names []string
	for _, p := range a.Plugins() {
		names = append(names, p.Class)
	}
	return refuse(http.StatusBadRequest, "Failed to find any class that implements Connector and which name matches %s, available connectors are: %s", class, strings.Join(names, ", "))
}

func (a api) put(r *http.Request) (reply, error) {
	var sent map[string]any
	if err := read(r, &sent); err != nil {
		return reply{}, err
	}
	name := r.PathValue("name")
	config, err := a.checked(name, sent)
	if err != nil {
		return reply{}, err
	}
	created, err := a.PutIf(r.Context(), name, config, condition(r))
	switch {
	case err != nil:
		return reply{}, missing(err, connectorNotFound, name)
	case created:
		return a.made(name, http.StatusCreated)
	}
	return a.made(name, http.StatusOK)
}

// ETag names a configuration, for If-Match.
func ETag(config map[string]string) string {
	text, _ := json.Marshal(config) // its keys in order
	sum := sha256.Sum256(text)
	return `"` + hex.EncodeToString(sum[:16]) + `"`
}

// condition is that of a request which is to replace the configuration that its sender has
// seen, or to make a connector that is not there; ours, in HTTP's words.
func condition(r *http.Request) func(now map[string]string) bool {
	match, none := r.Header.Get("If-Match"), r.Header.Get("If-None-Match")
	return func(now map[string]string) bool {
		return (match == "" || now != nil && (match == "*" || match == ETag(now))) && (none == "" || now == nil)
	}
}

func (a api) patch(r *http.Request) (reply, error) {
	name := r.PathValue("name")
	if _, err := a.Config(name); err != nil {
		return reply{}, missing(err, connectorNotFound, name)
	}
	var changes map[string]any
	if err := read(r, &changes); err != nil {
		return reply{}, err
	}
	err := a.Patch(r.Context(), name, func(config map[string]string) (map[string]string, error) {
		merged := map[string]any{}
		for key, value := range config {
			merged[key] = value
		}
		for key, value := range changes {
			if value == nil {
				delete(merged, key)
			} else {
				merged[key] = value
			}
		}
		return a.checked(name, merged)
	})
	if err != nil {
		return reply{}, missing(err, connectorNotFound, name)
	}
	return a.made(name, http.StatusOK)
}

func (a api) remove(r *http.Request) (reply, error) {
	name := r.PathValue("name")
	if err := a.Delete(r.Context(), name); err != nil {
		return reply{}, missing(err, connectorNotFound, name)
	}
	return reply{code: http.StatusNoContent}, nil
}

func (a api) target(target herder.Target, code int) call {
	return func(r *http.Request) (reply, error) {
		name := r.PathValue("name")
		if err := a.SetTarget(r.Context(), name, target); err != nil {
			return reply{}, missing(err, "Unknown connector %s", name)
		}
		return reply{code: code}, nil
	}
}

func (a api) restart(r *http.Request) (reply, error) {
	name := r.PathValue("name")
	includeTasks, err := flag(r, "includeTasks")
	if err != nil {
		return reply{}, err
	}
	onlyFailed, err := flag(r, "onlyFailed")
	if err != nil {
		return reply{}, err
	}
	before, err := a.Status(name)
	if err == nil {
		err = a.Restart(r.Context(), name, includeTasks, onlyFailed)
	}
	if err != nil {
		return reply{}, missing(err, "Unknown connector: %s", name)
	}
	if !includeTasks && !onlyFailed {
		return reply{code: http.StatusNoContent}, nil
	}
	plan := statusBody(before)
	restarting := func(p *partStatus) {
		if !onlyFailed || p.State == "FAILED" {
			p.State, p.Trace = herder.StateRestarting, ""
		}
	}
	restarting(&plan.Connector)
	for i := range plan.Tasks {
		if includeTasks {
			restarting(&plan.Tasks[i])
		}
	}
	return reply{code: http.StatusAccepted, body: plan}, nil
}

func (a api) restartTask(r *http.Request) (reply, error) {
	name := r.PathValue("name")
	id, err := strconv.Atoi(r.PathValue("task"))
	if err != nil {
		return reply{}, refuse(http.StatusNotFound, "HTTP 404 Not Found")
	}
	if _, err := a.Config(name); err != nil {
		return reply{}, missing(err, "Unknown connector: %s", name)
	}
	if err := a.RestartTask(r.Context(), name, id); errors.Is(err, herder.ErrNotFound) {
		return reply{}, refuse(http.StatusNotFound, "Unknown task: %s-%d", name, id)
	} else if err != nil {
		return reply{}, err
	}
	return reply{code: http.StatusNoContent}, nil
}

func (a api) topics(r *http.Request) (reply, error) {
	name := r.PathValue("name")
	return ok(map[string]any{name: map[string]any{"topics": a.Topics(name)}})
}

func (a api) resetTopics(r *http.Request) (reply, error) {
	if err := a.ResetTopics(r.Context(), r.PathValue("name")); err != nil && !errors.Is(err, herder.ErrNotFound) {
		return reply{}, err
	}
	return reply{code: http.StatusAccepted}, nil
}

// read reads a body: one JSON value, with no field that is not known.
func read(r *http.Request, value any) error {
	d := json.NewDecoder(r.Body)
	d.UseNumber()
	d.DisallowUnknownFields()
	err := d.Decode(value)
	if err == nil {
		if _, more := d.Token(); !errors.Is(more, io.EOF) {
			err = errors.New("more text after it")
		}
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return err
	case errors.Is(err, io.EOF):
		return refuse(http.StatusBadRequest, "the request has no body")
	case err != nil:
		return refuse(http.StatusBadRequest, "the body is not the JSON that is expected here: %v", err)
	}
	return nil
}

// texts gives the values of a configuration as text, as Kafka Connect keeps them, and
// the keys that are null.
func texts(sent map[string]any) (config map[string]string, nulls []string, err error) {
	if sent == nil {
		return nil, nil, refuse(http.StatusBadRequest, "the body is not a map of keys and values")
	}
	config = map[string]string{}
	for key, value := range sent {
		switch value := value.(type) {
		case string:
			config[key] = value
		case json.Number:
			config[key] = value.String()
		case bool:
			config[key] = strconv.FormatBool(value)
		case nil:
			nulls = append(nulls, key)
		default:
			return nil, nil, refuse(http.StatusBadRequest, "%s: a value is a text, a number or a boolean; write lists with commas", key)
		}
	}
	if strings.ContainsFunc(config["name"], unicode.IsControl) {
		return nil, nil, refuse(http.StatusBadRequest, "name: it holds a control character")
	}
	return config, nulls, nil
}

func flag(r *http.Request, name string) (bool, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return false, nil
	}
	v, err := strconv.ParseBool(strings.ToLower(text))
	if err != nil {
		return false, refuse(http.StatusBadRequest, "%s: %q is neither true nor false", name, text)
	}
	return v, nil
}
