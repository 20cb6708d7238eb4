package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"time"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/internal/rest"
)

// processConfig holds the keys of the process itself.
type processConfig struct {
	Listeners         []string      `json:"listeners" jsonschema:"description=Addresses of the HTTP server, separated by commas. Port 0 picks a free one and says which; a host that is left out means all interfaces. An address that is not of the loopback interface needs https and rest.basic.auth.path or rest.tokens.path; or run with --insecure." importance:"high"`
	MetricsListeners  []string      `json:"metrics.listeners" jsonschema:"description=Addresses that serve /metrics and /health alone, for a network from which only these may be reached. Empty: the same as listeners."`
	LogLevel          slog.Level    `json:"log.level" jsonschema:"description=The least grave messages that are logged,enum=DEBUG,enum=INFO,enum=WARN,enum=ERROR"`
	LogFormat         string        `json:"log.format" jsonschema:"description=Form of the log, which goes to standard error,enum=text,enum=json"`
	UsersPath         string        `json:"rest.basic.auth.path" jsonschema:"description=File of those who may use the HTTP API with a password: lines user=password as of Kafka Connect's PropertyFileLoginModule. Read at the start."`
	TokensPath        string        `json:"rest.tokens.path" jsonschema:"description=JSON file of bearer tokens that may use the HTTP API: a list of objects with name and access (full or read-only) and token or sha256. Read at the start."`
	TLSCertificate    string        `json:"listeners.https.ssl.certificate.location" jsonschema:"description=PEM file with the certificate of listeners that are https:// and those that it hangs on. Read again when it changes."`
	TLSKey            string        `json:"listeners.https.ssl.key.location" jsonschema:"description=PEM file with its private key."`
	AdvertisedHost    string        `json:"rest.advertised.host.name" jsonschema:"description=Host under which the status names this replica. Empty: its group.instance.id."`
	AdvertisedPort    int           `json:"rest.advertised.port" jsonschema:"description=Port under which the status names this replica; 0: that of its first listener."`
	ConfigTopic       string        `json:"config.storage.topic" jsonschema:"description=Compacted topic of one partition that holds the connectors that were made over REST and which are paused or stopped. It is made where it is not there. All replicas of one deployment name the same one and no other deployment may use it."`
	StatusTopic       string        `json:"status.storage.topic" jsonschema:"description=Compacted topic of one partition in which replicas say how they are. It is made where it is not there; the same holds as for config.storage.topic."`
	ConfigReplication int           `json:"config.storage.replication.factor" jsonschema:"description=Replicas of these two topics where they are made; -1: as the brokers have it."`
	ShutdownTimeout   time.Duration `json:"shutdown.timeout.ms" jsonschema:"description=After SIGTERM, how long to wait for what was accepted to be stored and for the groups to be left. What is not stored by then is read again."`
}

func defaultProcessConfig() processConfig {
	return processConfig{
		Listeners:   []string{"http://127.0.0.1:8083"},
		LogLevel:    slog.LevelInfo,
		LogFormat:   "text",
		ConfigTopic: "_tickconnect-configs", StatusTopic: "_tickconnect-status", ConfigReplication: -1,
		ShutdownTimeout: 20 * time.Second,
	}
}

func (c *processConfig) Validate() error {
	var errs []error
	if len(c.Listeners) == 0 {
		errs = append(errs, errors.New("listeners: at least one address is needed, such as http://127.0.0.1:8083"))
	}
	for key, listeners := range map[string][]string{"listeners": c.Listeners, "metrics.listeners": c.MetricsListeners} {
		for _, l := range listeners {
			if err := rest.CheckListener(l); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", key, err))
			}
		}
	}
	if (c.TLSCertificate == "") != (c.TLSKey == "") {
		errs = append(errs, errors.New("listeners.https.ssl.certificate.location: it and listeners.https.ssl.key.location are set together"))
	}
	for key, topic := range map[string]string{"config.storage.topic": c.ConfigTopic, "status.storage.topic": c.StatusTopic} {
		if !topicName.MatchString(topic) {
			errs = append(errs, fmt.Errorf("%s: %q is no name for a topic", key, topic))
		}
	}
	if c.ConfigTopic == c.StatusTopic {
		errs = append(errs, errors.New("status.storage.topic: it is config.storage.topic too; give each its own"))
	}
	if c.ConfigReplication != -1 && (c.ConfigReplication < 1 || c.ConfigReplication > 100) {
		errs = append(errs, fmt.Errorf("config.storage.replication.factor: %d is neither -1 nor within 1..100", c.ConfigReplication))
	}
	if c.AdvertisedPort < 0 || c.AdvertisedPort > 65535 {
		errs = append(errs, fmt.Errorf("rest.advertised.port: %d is outside 0..65535", c.AdvertisedPort))
	}
	if c.LogFormat != "text" && c.LogFormat != "json" {
		errs = append(errs, fmt.Errorf("log.format: %q is neither text nor json", c.LogFormat))
	}
	if c.ShutdownTimeout < time.Second || c.ShutdownTimeout > time.Hour {
		errs = append(errs, fmt.Errorf("shutdown.timeout.ms: %d is outside 1000..3600000", c.ShutdownTimeout.Milliseconds()))
	}
	return errors.Join(errs...)
}

// credentials reads who may use the HTTP API; nobody needs any where there are none.
func (c *processConfig) credentials() (*rest.Credentials, error) {
	var all rest.Credentials
	if c.UsersPath != "" {
		if err := all.ReadUsers(c.UsersPath); err != nil {
			return nil, fmt.Errorf("rest.basic.auth.path: %w", err)
		}
	}
	if c.TokensPath != "" {
		if err := all.ReadTokens(c.TokensPath); err != nil {
			return nil, fmt.Errorf("rest.tokens.path: %w", err)
		}
	}
	return &all, nil
}

// tls gives the listeners' TLS, nil where no certificate is named. A certificate that
// was replaced is used from the next connection on.
func (c *processConfig) tls() (*tls.Config, error) {
	if c.TLSCertificate == "" {
		return nil, nil
	}
	if _, err := tls.LoadX509KeyPair(c.TLSCertificate, c.TLSKey); err != nil {
		return nil, fmt.Errorf("listeners.https.ssl.certificate.location: %w", err)
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(c.TLSCertificate, c.TLSKey)
			return &pair, err
		},
	}, nil
}

// checkSecurity says which listener must not be opened.
func (c *processConfig) checkSecurity(credentials *rest.Credentials) error {
	var errs []error
	for _, l := range c.Listeners {
		if err := rest.CheckSecurity(l, credentials); err != nil {
			errs = append(errs, fmt.Errorf("listeners: %s: %w", l, err))
		}
	}
	return errors.Join(errs...)
}

// topicName is what brokers take.
var topicName = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,249}$`)

// workerID is how the status names this replica, as Kafka Connect does: host:port.
func (c *processConfig) workerID(replica string, urls []string) string {
	host, port := c.AdvertisedHost, strconv.Itoa(c.AdvertisedPort)
	if host == "" {
		host = replica
	}
	if u, err := url.Parse(urls[0]); err == nil && c.AdvertisedPort == 0 {
		port = u.Port()
	}
	return net.JoinHostPort(host, port)
}

// logger writes as the configuration says, without secrets.
func (c *processConfig) logger(w io.Writer, redactor *config.Redactor, levels *levels) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.LevelDebug} // levels decide
	if c.LogFormat == "json" {
		return slog.New(levelHandler{Handler: slog.NewJSONHandler(redactor.Writer(w), opts), levels: levels})
	}
	return slog.New(levelHandler{Handler: slog.NewTextHandler(redactor.Writer(w), opts), levels: levels})
}
