package redpandasource

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack"
)

func TestDefaultsAreValid(t *testing.T) {
	t.Parallel()
	client := DefaultClientConfig()
	if err := client.Validate(); err != nil {
		t.Error(err)
	}
	cfg := DefaultConfig()
	cfg.Topics = "a, b,a"
	if err := cfg.Validate(); err != nil {
		t.Error(err)
	}
	if got := cfg.TopicNames(); len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("topics %q, want a and b", got)
	}
}

func TestValidateNamesTheKey(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(*ClientConfig, *Config)
		key    string
	}{
		"no broker":   {func(c *ClientConfig, _ *Config) { c.BootstrapServers = " , " }, "bootstrap.servers: "},
		"no port":     {func(c *ClientConfig, _ *Config) { c.BootstrapServers = "a:1,b" }, "bootstrap.servers: \"b\""},
		"protocol":    {func(c *ClientConfig, _ *Config) { c.SecurityProtocol = "TLS" }, "security.protocol: "},
		"sasl unused": {func(c *ClientConfig, _ *Config) { c.SASLPassword = "hunter2" }, "security.protocol: "},
		"ssl unused":  {func(c *ClientConfig, _ *Config) { c.SSLCALocation = "/x" }, "security.protocol: "},
		"mechanism":   {func(c *ClientConfig, _ *Config) { c.SecurityProtocol, c.SASLUsername = "SASL_SSL", "u" }, "sasl.mechanism: "},
		"no user":     {func(c *ClientConfig, _ *Config) { c.SecurityProtocol, c.SASLMechanism = "SASL_SSL", "PLAIN" }, "sasl.username: "},
		"jaas": {func(c *ClientConfig, _ *Config) {
			c.SecurityProtocol, c.SASLMechanism, c.SASLJAASConfig = "SASL_SSL", "PLAIN", "hunter2"
		}, "sasl.jaas.config: "},
		"key without cert": {func(c *ClientConfig, _ *Config) { c.SecurityProtocol, c.SSLKeyLocation = "SSL", "/k" }, "ssl.certificate.location: "},
		"instance":         {func(c *ClientConfig, _ *Config) { c.GroupInstanceID = "a b" }, "group.instance.id: "},
		"session timeout":  {func(c *ClientConfig, _ *Config) { c.SessionTimeoutMs = 10 }, "session.timeout.ms: "},
		"heartbeat":        {func(c *ClientConfig, _ *Config) { c.HeartbeatIntervalMs = 9000 }, "heartbeat.interval.ms: "},
		"rebalance":        {func(c *ClientConfig, _ *Config) { c.RebalanceTimeoutMs = 0 }, "rebalance.timeout.ms: "},
		"no topics":        {func(_ *ClientConfig, c *Config) { c.Topics = "" }, "topics: "},
		"topics and regex": {func(_ *ClientConfig, c *Config) { c.TopicsRegex = "a" }, "topics: "},
		"topic name":       {func(_ *ClientConfig, c *Config) { c.Topics = "a/b" }, "topics: "},
		"regex":            {func(_ *ClientConfig, c *Config) { c.Topics, c.TopicsRegex = "", "(" }, "topics.regex: "},
		"offsets":          {func(_ *ClientConfig, c *Config) { c.OffsetsInitial = "yesterday" }, "offsets.initial: "},
		"metadata":         {func(_ *ClientConfig, c *Config) { c.MetadataMaxAgeMs = 1 }, "metadata.max.age.ms: "},
		"budget":           {func(_ *ClientConfig, c *Config) { c.FetchBudgetBytes = 1 }, "fetch.budget.bytes: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, cfg := DefaultClientConfig(), DefaultConfig()
			cfg.Topics = "a"
			tc.change(&client, &cfg)
			_, err := New("c", client, cfg, testLog(t))
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains("\n"+err.Error(), "\n"+tc.key) {
				t.Errorf("%q does not begin with %q", err, tc.key)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%q holds the secret", err)
			}
		})
	}
}

func TestJAASCredentials(t *testing.T) {
	t.Parallel()
	c := ClientConfig{SASLJAASConfig: `org.apache.kafka.common.security.scram.ScramLoginModule required username="al\"ice" password="s=e\\c;ret" ;`}
	user, password, err := c.credentials()
	if err != nil || user != `al"ice` || password != `s=e\c;ret` {
		t.Errorf("got %q %q %v", user, password, err)
	}
}

func TestTopicsRegexMatchesTheWholeName(t *testing.T) {
	t.Parallel()
	cfg := Config{TopicsRegex: "a|bc"}
	matches, err := cfg.matcher()
	if err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]bool{"a": true, "bc": true, "ab": false, "xbc": false} {
		if matches(topic) != want {
			t.Errorf("%q: %t, want %t", topic, !want, want)
		}
	}
}

// TestSecureConnections has sarama and franz-go log in over TLS in each way.
func TestSecureConnections(t *testing.T) {
	t.Parallel()
	cert, caFile := selfSigned(t)
	for _, mechanism := range []string{mechanismPlain, mechanismSHA256, mechanismSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			b, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{
				TLS:    &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
				Users:  []devstack.BrokerUser{{Mechanism: mechanism, Name: "alice", Password: `se"cret`}},
				Topics: []devstack.BrokerTopic{{Name: "t", Partitions: 1}},
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = b.Close() })
			client := testClient(b.Brokers())
			client.SecurityProtocol, client.SASLMechanism, client.SSLCALocation = protocolSASLSSL, mechanism, caFile
			client.SASLJAASConfig = `x required username="alice" password="se\"cret";`
			tp := connect.TopicPartition{Topic: "t"}
			st := newStore()
			r := run(t, client, testConfig("t"), newHandler(st))
			if err := r.source.Publisher().Publish(t.Context(), "t", []connect.Record{{Value: []byte("x")}}); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the record", func() bool { return st.next(tp) == 1 })
		})
	}
}

// selfSigned makes a certificate for 127.0.0.1 and a file that trusts it.
func selfSigned(t *testing.T) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}

func TestFetchSizeFollowsTheBudget(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		partitions   int64
		fetch, batch int
	}{{0, fetchMaxBytes, 256}, {12, 279620, 68}, {360, 9320, 2}, {100_000, fetchMinBytes, 2}} {
		t.Run(fmt.Sprint(tc.partitions), func(t *testing.T) {
			cfg := testConfig("t")
			s, err := New("c", testClient([]string{"127.0.0.1:1"}), cfg, testLog(t))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.partitions.Store(tc.partitions)
			conf, err := s.client.saramaConfig(time.Second)
			if err != nil {
				t.Fatal(err)
			}
			s.sizeFetches(conf)
			if int(conf.Consumer.Fetch.Default) != tc.fetch || conf.ChannelBufferSize != tc.batch {
				t.Errorf("fetch %d, channel %d; want %d, %d", conf.Consumer.Fetch.Default, conf.ChannelBufferSize, tc.fetch, tc.batch)
			}
		})
	}
}

func TestConfigMatchesTheTopicsItNames(t *testing.T) {
	t.Parallel()
	byName := testConfig("a", "b-dlq")
	byPattern := testConfig()
	byPattern.TopicsRegex = "crypto-.+"
	for topic, want := range map[string][2]bool{
		"a":            {true, false},
		"b-dlq":        {true, false},
		"b":            {false, false},
		"crypto-dlq":   {false, true},
		"crypto-":      {false, false},
		"x-crypto-dlq": {false, false},
	} {
		if got := [2]bool{byName.Matches(topic), byPattern.Matches(topic)}; got != want {
			t.Errorf("%s: by name and by pattern %v, want %v", topic, got, want)
		}
	}
}
