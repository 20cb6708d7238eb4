package redpandasource

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ClientConfig says how to reach the brokers and how to be a group's member.
// Its keys are Kafka's; those of ssl are librdkafka's, which name PEM files.
type ClientConfig struct {
	BootstrapServers string `json:"bootstrap.servers" jsonschema:"required,description=Brokers to begin with: host:port separated by commas.,default=localhost:9092"`
	ClientID         string `json:"client.id" jsonschema:"description=Name by which the brokers' logs and quotas know this client.,default=tickconnect"`
	SecurityProtocol string `json:"security.protocol" jsonschema:"description=How connections are protected.,enum=PLAINTEXT,enum=SSL,enum=SASL_PLAINTEXT,enum=SASL_SSL,default=PLAINTEXT"`

	SASLMechanism  string `json:"sasl.mechanism" jsonschema:"description=How the client proves who it is.,enum=PLAIN,enum=SCRAM-SHA-256,enum=SCRAM-SHA-512"`
	SASLUsername   string `json:"sasl.username" jsonschema:"description=User for SASL."`
	SASLPassword   string `json:"sasl.password" jsonschema:"format=password,description=Password for SASL."`
	SASLJAASConfig string `json:"sasl.jaas.config" jsonschema:"format=password,description=User and password in the form that Java clients use; an alternative to sasl.username and sasl.password."`

	SSLCALocation          string `json:"ssl.ca.location" jsonschema:"description=PEM file with the authorities to trust. Empty means the system's."`
	SSLCertificateLocation string `json:"ssl.certificate.location" jsonschema:"description=PEM file with the client's certificate."`
	SSLKeyLocation         string `json:"ssl.key.location" jsonschema:"description=PEM file with the client's private key."`

	GroupInstanceID     string `json:"group.instance.id" jsonschema:"description=Name of this replica in its groups; unique for each replica. With it a replica that comes back within session.timeout.ms takes up its partitions without a rebalance."`
	SessionTimeoutMs    int    `json:"session.timeout.ms" jsonschema:"description=After how long without a heartbeat a member's partitions go to others in ms.,default=10000"`
	HeartbeatIntervalMs int    `json:"heartbeat.interval.ms" jsonschema:"description=How often a member tells the coordinator that it lives in ms; also how soon it learns of a rebalance.,default=500"`
	RebalanceTimeoutMs  int    `json:"rebalance.timeout.ms" jsonschema:"description=How long a rebalance waits for a member to finish its batches and join again in ms.,default=8000"`
}

// DefaultClientConfig holds the defaults.
func DefaultClientConfig() ClientConfig {
	return ClientConfig{
		BootstrapServers:    "localhost:9092",
		ClientID:            "tickconnect",
		SecurityProtocol:    protocolPlaintext,
		SessionTimeoutMs:    10_000,
		HeartbeatIntervalMs: 500,
		RebalanceTimeoutMs:  8_000,
	}
}

const (
	protocolPlaintext     = "PLAINTEXT"
	protocolSSL           = "SSL"
	protocolSASLPlaintext = "SASL_PLAINTEXT"
	protocolSASLSSL       = "SASL_SSL"

	mechanismPlain  = "PLAIN"
	mechanismSHA256 = "SCRAM-SHA-256"
	mechanismSHA512 = "SCRAM-SHA-512"
)

// instanceIDForm is what the broker takes for a static member's name.
var instanceIDForm = regexp.MustCompile(`^[0-9a-zA-Z._-]{1,249}$`)

// Validate says what is wrong, each message beginning with the key.
func (c *ClientConfig) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	brokers := c.Brokers()
	if len(brokers) == 0 {
		bad("bootstrap.servers: no broker is named")
	}
	for _, b := range brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			bad("bootstrap.servers: %q is not host:port", b)
		}
	}
	protocols := []string{protocolPlaintext, protocolSSL, protocolSASLPlaintext, protocolSASLSSL}
	if !slices.Contains(protocols, c.protocol()) {
		bad("security.protocol: %q is none of %s", c.SecurityProtocol, strings.Join(protocols, " "))
	}
	if c.sasl() {
		errs = append(errs, c.validateSASL()...)
	} else if c.SASLMechanism != "" || c.SASLUsername != "" || c.SASLPassword != "" || c.SASLJAASConfig != "" {
		bad("security.protocol: %s does not use the sasl settings; set SASL_PLAINTEXT or SASL_SSL", c.protocol())
	}
	if !c.tls() && (c.SSLCALocation != "" || c.SSLCertificateLocation != "" || c.SSLKeyLocation != "") {
		bad("security.protocol: %s does not use the ssl settings; set SSL or SASL_SSL", c.protocol())
	}
	if (c.SSLCertificateLocation == "") != (c.SSLKeyLocation == "") {
		bad("ssl.certificate.location: it and ssl.key.location are set together")
	}
	if c.GroupInstanceID != "" && !instanceIDForm.MatchString(c.GroupInstanceID) {
		bad("group.instance.id: %q is not 1 to 249 of letters, digits, '.', '_' and '-'", c.GroupInstanceID)
	}
	if c.SessionTimeoutMs < 1000 || c.SessionTimeoutMs > 1_800_000 {
		bad("session.timeout.ms: %d is outside 1000..1800000", c.SessionTimeoutMs)
	}
	if c.HeartbeatIntervalMs < 50 || c.HeartbeatIntervalMs > c.SessionTimeoutMs/3 {
		bad("heartbeat.interval.ms: %d is outside 50..%d, a third of session.timeout.ms", c.HeartbeatIntervalMs, c.SessionTimeoutMs/3)
	}
	if c.RebalanceTimeoutMs < 1000 || c.RebalanceTimeoutMs > 600_000 {
		bad("rebalance.timeout.ms: %d is outside 1000..600000", c.RebalanceTimeoutMs)
	}
	return errors.Join(errs...)
}

func (c *ClientConfig) validateSASL() []error {
	var errs []error
	mechanisms := []string{mechanismPlain, mechanismSHA256, mechanismSHA512}
	if !slices.Contains(mechanisms, c.SASLMechanism) {
		errs = append(errs, fmt.Errorf("sasl.mechanism: %q is none of %s", c.SASLMechanism, strings.Join(mechanisms, " ")))
	}
	if c.SASLJAASConfig != "" && (c.SASLUsername != "" || c.SASLPassword != "") {
		errs = append(errs, errors.New("sasl.jaas.config: set either it or sasl.username and sasl.password"))
	}
	if _, _, err := c.credentials(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// Brokers gives the addresses in bootstrap.servers.
func (c *ClientConfig) Brokers() []string {
	var brokers []string
	for b := range strings.SplitSeq(c.BootstrapServers, ",") {
		if b = strings.TrimSpace(b); b != "" {
			brokers = append(brokers, b)
		}
	}
	return brokers
}

func (c *ClientConfig) protocol() string {
	if c.SecurityProtocol == "" {
		return protocolPlaintext
	}
	return c.SecurityProtocol
}

func (c *ClientConfig) sasl() bool {
	return c.protocol() == protocolSASLPlaintext || c.protocol() == protocolSASLSSL
}

func (c *ClientConfig) tls() bool {
	return c.protocol() == protocolSSL || c.protocol() == protocolSASLSSL
}

var (
	jaasUsername = regexp.MustCompile(`\busername\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*')`)
	jaasPassword = regexp.MustCompile(`\bpassword\s*=\s*("(?:[^"\\]|\\.)*"|'[^']*')`)
	jaasEscape   = regexp.MustCompile(`\\(.)`)
)

// credentials gives user and password, from either form. Its errors hold
// neither.
func (c *ClientConfig) credentials() (user, password string, err error) {
	if c.SASLJAASConfig == "" {
		if c.SASLUsername == "" {
			return "", "", errors.New("sasl.username: a user is needed for SASL")
		}
		return c.SASLUsername, c.SASLPassword, nil
	}
	u := jaasUsername.FindStringSubmatch(c.SASLJAASConfig)
	p := jaasPassword.FindStringSubmatch(c.SASLJAASConfig)
	if u == nil || p == nil {
		return "", "", errors.New(`sasl.jaas.config: it holds no username="..." password="..."`)
	}
	unquote := func(s string) string {
		if s[0] == '\'' {
			return s[1 : len(s)-1]
		}
		return jaasEscape.ReplaceAllString(s[1:len(s)-1], "$1")
	}
	return unquote(u[1]), unquote(p[1]), nil
}

// tlsConfig reads the PEM files; nil where connections are not encrypted.
func (c *ClientConfig) tlsConfig() (*tls.Config, error) {
	if !c.tls() {
		return nil, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.SSLCALocation != "" {
		pem, err := os.ReadFile(c.SSLCALocation)
		if err != nil {
			return nil, fmt.Errorf("ssl.ca.location: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ssl.ca.location: %s holds no PEM certificate", c.SSLCALocation)
		}
	}
	if c.SSLCertificateLocation != "" {
		cert, err := tls.LoadX509KeyPair(c.SSLCertificateLocation, c.SSLKeyLocation)
		if err != nil {
			return nil, fmt.Errorf("ssl.certificate.location: %w", err)
		}
		t.Certificates = []tls.Certificate{cert}
	}
	return t, nil
}

// SessionTimeout is after how long without a heartbeat a member counts as dead.
func (c *ClientConfig) SessionTimeout() time.Duration {
	return time.Duration(c.SessionTimeoutMs) * time.Millisecond
}

func (c *ClientConfig) heartbeatInterval() time.Duration {
	return time.Duration(c.HeartbeatIntervalMs) * time.Millisecond
}

func (c *ClientConfig) rebalanceTimeout() time.Duration {
	return time.Duration(c.RebalanceTimeoutMs) * time.Millisecond
}

// releaseTimeout bounds Handler.Release: what remains of the rebalance timeout
// is for the way back into the group.
func (c *ClientConfig) releaseTimeout() time.Duration {
	return c.rebalanceTimeout() * 3 / 4
}
