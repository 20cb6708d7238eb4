package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"

	"github.com/agnivade/levenshtein"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/connect"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	"github.com/qicore/tickconnect/internal/rest"
	"github.com/qicore/tickconnect/internal/worker"
	"github.com/qicore/tickconnect/publish/ingest"
)

// loaded is a configuration file, decoded and checked. Where something is wrong
// with it, errs of it or of a connector say what, and what was good is there.
type loaded struct {
	path       string
	process    processConfig
	client     redpandasource.ClientConfig
	ingest     ingestConfig
	tracing    tracingConfig
	variables  config.Variables
	tokens     *ingest.Tokens
	decoded    config.Decoded
	connectors []*connectorConfig
	// err is what is wrong with the keys of the process.
	err      error
	redactor *config.Redactor
	levels   *levels
	// credentials and tls are those of the HTTP API.
	credentials *rest.Credentials
	tls         *tls.Config
}

// connectorConfig is one connector of the file.
type connectorConfig struct {
	name     string
	props    map[string]string // as they were written
	settings worker.Settings
	source   redpandasource.Config
	// plugin and target are unset where connector.class names no plugin.
	plugin  connect.Plugin
	target  connect.Config
	decoded config.Decoded
	err     error
}

// load reads a configuration. Its error says that the file cannot be read at
// all; check says what is wrong with what it holds.
func load(path string) (*loaded, error) {
	file, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	l := &loaded{
		path: path, process: defaultProcessConfig(), client: redpandasource.DefaultClientConfig(),
		ingest: defaultIngestConfig(), tracing: defaultTracingConfig(), redactor: config.NewRedactor(),
	}
	l.decoded, l.err = config.DecodeWorker(file.Worker, &l.process, &l.client, &l.ingest, &l.tracing, &l.variables)
	l.redactor.Add(l.decoded.Secrets...)
	l.levels = newLevels(l.process.LogLevel)
	if l.client.GroupInstanceID == "" {
		// Without a host name the groups have dynamic members.
		l.client.GroupInstanceID, _ = os.Hostname()
	}
	if l.err == nil {
		l.err = errors.Join(l.process.Validate(), l.client.Validate(), l.ingest.Validate(), l.tracing.Validate(), l.variables.Validate())
	}
	if l.err == nil {
		l.tokens, l.err = l.ingest.readTokens()
	}
	if l.err == nil {
		l.credentials, l.err = l.process.credentials()
	}
	if l.err == nil {
		l.tls, l.err = l.process.tls()
	}
	for _, c := range file.Connectors {
		l.connectors = append(l.connectors, l.connector(c))
	}
	return l, nil
}

// connector reads a connector and has its secrets hidden from now on.
func (l *loaded) connector(from config.Connector) *connectorConfig {
	c := l.read(from)
	l.redactor.Add(c.decoded.Secrets...)
	return c
}

// read decodes and checks a connector. What is wrong with it shows no value that a
// variable gave.
func (l *loaded) read(from config.Connector) *connectorConfig {
	c := l.decode(from)
	if c.err != nil && len(c.decoded.Resolved) > 0 {
		c.err = errors.New(config.NewRedactor(c.decoded.Resolved...).Redact(c.err.Error()))
	}
	return c
}

func (l *loaded) decode(from config.Connector) *connectorConfig {
	c := &connectorConfig{name: from.Name, props: from.Props, settings: worker.DefaultSettings(), source: redpandasource.DefaultConfig()}
	plugin, err := findPlugin(from.Props["connector.class"])
	if err != nil {
		c.err = fmt.Errorf("connector.class: %w", err)
		return c
	}
	c.plugin, c.target = plugin, plugin.Config()
	var named struct {
		Name string `json:"name"`
	}
	c.decoded, c.err = l.variables.Decode(from.Props, &named, &c.settings, &c.source, c.target)
	var errs []error
	if named.Name != "" && named.Name != c.name {
		errs = append(errs, fmt.Errorf("name: %q is not the connector's name in the file, %s; leave the key out", named.Name, c.name))
	}
	errs = append(errs, c.settings.Validate(), c.source.Validate(), c.target.Validate())
	c.err = joinByKey(c.err, errors.Join(errs...))
	if dlq := c.settings.DLQTopic; c.err == nil && dlq != "" && c.source.Matches(dlq) {
		c.err = fmt.Errorf("errors.deadletterqueue.topic.name: %s is one of the topics that this connector reads: "+
			"each dead letter would become the next one; choose another name", dlq)
	}
	return c
}

// joinByKey adds to the first error what the second says of other keys: one that could
// not be read kept its default.
func joinByKey(first, second error) error {
	bad := map[string]bool{}
	for _, text := range lines(first) {
		key, _, _ := strings.Cut(text, ":")
		bad[key] = true
	}
	errs := []error{first}
	for _, text := range lines(second) {
		if key, _, _ := strings.Cut(text, ":"); !bad[key] {
			errs = append(errs, errors.New(text))
		}
	}
	return errors.Join(errs...)
}

// named gives the keys as they were written, with the connector's name, as REST has
// them.
func (c *connectorConfig) named() map[string]string {
	props := maps.Clone(c.props)
	props["name"] = c.name
	return props
}

// check joins all that is wrong, without secrets. Each message names the
// connector and then the key.
func (l *loaded) check() error {
	var errs []error
	for _, text := range lines(l.err) {
		errs = append(errs, errors.New(l.redactor.Redact(text)))
	}
	for _, c := range l.connectors {
		for _, text := range lines(c.err) {
			errs = append(errs, errors.New(l.redactor.Redact(c.name+": "+text)))
		}
	}
	if len(errs) == 0 {
		return nil
	}
	return fmt.Errorf("%s cannot be used:\n%w", l.path, errors.Join(errs...))
}

// lines are the messages of an error that may join several.
func lines(err error) []string {
	if err == nil {
		return nil
	}
	return strings.Split(err.Error(), "\n")
}

// findPlugin gives the plugin of a connector.class.
func findPlugin(class string) (connect.Plugin, error) {
	var names []string
	for _, p := range plugins {
		for _, name := range append([]string{p.Class}, p.Aliases...) {
			if strings.EqualFold(name, class) {
				return p, nil
			}
		}
		names = append(names, p.Class)
	}
	if class == "" {
		return connect.Plugin{}, fmt.Errorf("it is required; there is %s", strings.Join(names, ", "))
	}
	for _, name := range names {
		if levenshtein.ComputeDistance(strings.ToLower(class), name) <= len(name)/2 {
			return connect.Plugin{}, fmt.Errorf("there is no %q; did you mean %s?", class, name)
		}
	}
	return connect.Plugin{}, fmt.Errorf("there is no %q; there is %s", class, strings.Join(names, ", "))
}
