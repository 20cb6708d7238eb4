package redpandasource

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

const secret = "s3cret"

// secured is an in-process broker that wants TLS, certificates or passwords.
type secured struct {
	authority *testenv.Authority
	brokers   []string
}

// secure starts a broker with the topic t and the user alice for each mechanism.
// mutual asks for a client certificate.
func secure(t *testing.T, encrypted, mutual, users bool) *secured {
	t.Helper()
	s := &secured{authority: testenv.NewAuthority(t)}
	opts := devstack.BrokerOptions{Topics: []devstack.BrokerTopic{{Name: "t", Partitions: 1}}}
	if encrypted {
		opts.TLS = s.serverTLS(t, mutual)
	}
	if users {
		opts.Users = aliceWith(secret)
	}
	b, err := devstack.StartBroker(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	s.brokers = b.Brokers()
	return s
}

func aliceWith(password string) []devstack.BrokerUser {
	var users []devstack.BrokerUser
	for _, mechanism := range []string{mechanismPlain, mechanismSHA256, mechanismSHA512} {
		users = append(users, devstack.BrokerUser{Mechanism: mechanism, Name: "alice", Password: password})
	}
	return users
}

func (s *secured) serverTLS(t *testing.T, mutual bool) *tls.Config {
	t.Helper()
	pair, err := tls.X509KeyPair(s.authority.Issue("broker", time.Now().Add(time.Hour), "127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	if mutual {
		config.ClientCAs = x509.NewCertPool()
		config.ClientCAs.AppendCertsFromPEM(s.authority.PEM)
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config
}

// client is a configuration that the broker takes, for a protocol.
func (s *secured) client(t *testing.T, protocol, mechanism string) ClientConfig {
	t.Helper()
	c := testClient(s.brokers)
	c.SecurityProtocol = protocol
	if c.tls() {
		c.SSLCALocation = testenv.File(t, "ca.pem", s.authority.PEM)
	}
	if c.sasl() {
		c.SASLMechanism, c.SASLUsername, c.SASLPassword = mechanism, "alice", secret
	}
	return c
}

// identify gives the client a certificate.
func identify(t *testing.T, c *ClientConfig, a *testenv.Authority, validUntil time.Time) {
	t.Helper()
	cert, key := a.Issue("alice", validUntil)
	c.SSLCertificateLocation, c.SSLKeyLocation = testenv.File(t, "client.pem", cert), testenv.File(t, "client.key", key)
}

// TestSecurityProtocols has both clients log in, each in each way: goka's sarama
// reads the topic as a member of its group, and franz-go looks for topics, writes
// and reads beside it.
func TestSecurityProtocols(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		protocol, mechanism string
		mutual              bool
	}{
		{protocolSSL, "", false},
		{protocolSSL, "", true},
		{protocolSASLPlaintext, mechanismPlain, false},
		{protocolSASLPlaintext, mechanismSHA256, false},
		{protocolSASLPlaintext, mechanismSHA512, false},
		{protocolSASLSSL, mechanismPlain, false},
		{protocolSASLSSL, mechanismSHA256, true},
		{protocolSASLSSL, mechanismSHA512, true},
	} {
		t.Run(fmt.Sprintf("%s %s mutual=%t", test.protocol, test.mechanism, test.mutual), func(t *testing.T) {
			t.Parallel()
			encrypted := test.protocol == protocolSSL || test.protocol == protocolSASLSSL
			b := secure(t, encrypted, test.mutual, test.mechanism != "")
			client := b.client(t, test.protocol, test.mechanism)
			if test.mutual {
				identify(t, &client, b.authority, time.Now().Add(time.Hour))
			}
			st := newStore()
			h := newHandler(st)
			r := run(t, client, testConfig("t"), h)
			if err := r.source.Publisher().Publish(t.Context(), "t", []connect.Record{{Value: []byte("x")}, {Value: []byte("y")}}); err != nil {
				t.Fatal(err)
			}
			tp := connect.TopicPartition{Topic: "t"}
			eventually(t, "the records", func() bool { return st.next(tp) == 2 })
			if records := readAll(t, r.source.kafka, tp, 0, 2); len(records) != 2 {
				t.Errorf("Log reads %d records, want 2", len(records))
			}
			r.stop()
			h.settled(t)
		})
	}
}

// TestRefusedConnections: what the brokers or the client refuse is said with its
// cause, for each topic that waits for it, without the password; and the source
// waits on.
func TestRefusedConnections(t *testing.T) {
	t.Parallel()
	plain := secure(t, false, false, true)
	encrypted := secure(t, true, false, true)
	mutual := secure(t, true, true, false)
	stranger := testenv.NewAuthority(t)
	for name, test := range map[string]struct {
		broker              *secured
		protocol, mechanism string
		change              func(*ClientConfig)
		says                string
	}{
		"a wrong password": { // takes seconds: franz-go retries; TestPasswordIsChanged tries the other mechanisms
			plain, protocolSASLPlaintext, mechanismSHA256,
			func(c *ClientConfig) { c.SASLPassword = secret + "-guess" }, "sasl.password",
		},
		"another authority": {
			encrypted, protocolSASLSSL, mechanismPlain,
			func(c *ClientConfig) { c.SSLCALocation = testenv.File(t, "ca.pem", stranger.PEM) }, "ssl.ca.location",
		},
		"the system's authorities": {
			encrypted, protocolSASLSSL, mechanismPlain,
			func(c *ClientConfig) { c.SSLCALocation = "" }, "ssl.ca.location",
		},
		"another host": {
			encrypted, protocolSASLSSL, mechanismPlain,
			func(c *ClientConfig) {
				c.BootstrapServers = strings.Replace(c.BootstrapServers, "127.0.0.1", "localhost", 1)
			}, "bootstrap.servers",
		},
		"no client certificate": {mutual, protocolSSL, "", func(*ClientConfig) {}, "ssl.certificate.location"},
		"a stranger's client certificate": {
			mutual, protocolSSL, "",
			func(c *ClientConfig) { identify(t, c, stranger, time.Now().Add(time.Hour)) }, "ssl.certificate.location",
		},
		"an expired client certificate": {
			mutual, protocolSSL, "",
			func(c *ClientConfig) { identify(t, c, mutual.authority, time.Now().Add(-time.Minute)) }, "ssl.certificate.location",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := test.broker.client(t, test.protocol, test.mechanism)
			test.change(&client)
			r := run(t, client, testConfig("t"), newHandler(newStore()))
			eventually(t, "the problem is said", func() bool { return r.source.Problems()["t"] != nil })
			wantSaid(t, r.source.Problems()["t"], test.says)
			select {
			case err := <-r.done:
				t.Fatalf("the source ended: %v", err)
			default:
			}
			_, err := r.source.InitialClaims(t.Context())
			wantSaid(t, err, test.says)
			r.stop()
		})
	}
}

// wantSaid checks an error that an operator reads.
func wantSaid(t *testing.T, err error, says string) {
	t.Helper()
	if text := fmt.Sprint(err); err == nil || !strings.Contains(text, says) || strings.Contains(text, secret) {
		t.Errorf("it says %q, want %q and no password", text, says)
	}
}

// TestPasswordIsChanged: the brokers come back with another password, and later
// with the old one. The source says so, waits, and goes on where it was, also
// where it began with the wrong one.
func TestPasswordIsChanged(t *testing.T) {
	t.Parallel()
	for _, mechanism := range []string{mechanismPlain, mechanismSHA512} {
		t.Run(mechanism, func(t *testing.T) {
			t.Parallel()
			s := &secured{authority: testenv.NewAuthority(t)}
			opts := devstack.BrokerOptions{
				Dir: t.TempDir(), TLS: s.serverTLS(t, false), Topics: []devstack.BrokerTopic{{Name: "t", Partitions: 1}},
			}
			var b *devstack.Broker
			restart := func(password string) {
				t.Helper()
				if b != nil {
					if err := b.Close(); err != nil {
						t.Fatal(err)
					}
				}
				opts.Users = aliceWith(password)
				var err error
				if b, err = devstack.StartBroker(t.Context(), opts); err != nil {
					t.Fatal(err)
				}
				s.brokers = b.Brokers()
				_, port, err := net.SplitHostPort(s.brokers[0])
				if err != nil {
					t.Fatal(err)
				}
				if opts.Port, err = strconv.Atoi(port); err != nil {
					t.Fatal(err)
				}
			}
			restart("another")
			t.Cleanup(func() { _ = b.Close() })
			st := newStore()
			h := newHandler(st)
			r := run(t, s.client(t, protocolSASLSSL, mechanism), testConfig("t"), h)
			tp := connect.TopicPartition{Topic: "t"}
			for i := range int64(2) {
				eventually(t, "the wrong password is said", func() bool {
					err := r.source.Problems()["t"]
					return err != nil && strings.Contains(err.Error(), "sasl.password")
				})
				wantSaid(t, r.source.Problems()["t"], "sasl.password")
				restart(secret)
				eventually(t, "all is well", func() bool { return len(r.source.Problems()) == 0 && h.owns() == 1 })
				if err := r.source.Publisher().Publish(t.Context(), "t", []connect.Record{{Value: []byte("x")}}); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the record", func() bool { return st.next(tp) == i+1 })
				if i == 0 {
					restart("another")
				}
			}
			r.stop()
			h.settled(t)
		})
	}
}
