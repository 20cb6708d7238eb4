package devstack

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"
)

func startBroker(t *testing.T, opts BrokerOptions) *Broker {
	t.Helper()
	b, err := StartBroker(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func clusterID(t *testing.T, brokers []string) string {
	t.Helper()
	meta, err := kadm.NewClient(newClient(t, brokers)).BrokerMetadata(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return meta.Cluster
}

func TestBrokerKeepsItsLogAndOffsets(t *testing.T) {
	t.Parallel()
	opts := BrokerOptions{Dir: t.TempDir(), Topics: []BrokerTopic{{Name: "kept", Partitions: 1}}}
	b := startBroker(t, opts)
	id := clusterID(t, b.Brokers())
	produce(t, b.Brokers(), "kept", "a", "b")
	var offsets kadm.Offsets
	offsets.AddOffset("kept", 0, 2, -1)
	if err := kadm.NewClient(newClient(t, b.Brokers())).CommitAllOffsets(t.Context(), "group", offsets); err != nil {
		t.Fatal(err)
	}

	if _, err := StartBroker(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second owner gets %v, want that the folder is in use", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	b = startBroker(t, opts)
	produce(t, b.Brokers(), "kept", "c")
	if got, want := consume(t, b.Brokers(), "kept"), []string{"0:a", "1:b", "2:c"}; !slices.Equal(got, want) {
		t.Errorf("the topic holds %v, want %v", got, want)
	}
	committed, err := kadm.NewClient(newClient(t, b.Brokers())).FetchOffsets(t.Context(), "group")
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := committed.Lookup("kept", 0); !ok || got.At != 2 {
		t.Errorf("the group's offset is %+v, want 2", got)
	}
	if got := clusterID(t, b.Brokers()); got != id || id == "" {
		t.Errorf("the cluster id was %q and is %q", id, got)
	}
}

func TestBrokerKeepsWhatItAcknowledgedBeforeAKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	owner, address := startOwner(t, "broker", dir)
	if _, err := StartBroker(t.Context(), BrokerOptions{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use by another process") {
		t.Errorf("a second process gets %v, want that the folder is in use", err)
	}
	produce(t, []string{address}, "kept", "a", "b")
	owner.kill(t)
	b := startBroker(t, BrokerOptions{Dir: dir})
	produce(t, b.Brokers(), "kept", "c")
	if got, want := consume(t, b.Brokers(), "kept"), []string{"0:a", "1:b", "2:c"}; !slices.Equal(got, want) {
		t.Errorf("the topic holds %v, want %v", got, want)
	}
}

func TestBrokersInMemoryAreApart(t *testing.T) {
	t.Parallel()
	port, err := freePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	one := startBroker(t, BrokerOptions{Brokers: 3, Port: port, Topics: []BrokerTopic{{"one", 1}, {"wide", 12}}})
	other := startBroker(t, BrokerOptions{})
	if got := one.Brokers(); len(got) != 3 || got[0] != fmt.Sprintf("127.0.0.1:%d", port) {
		t.Errorf("brokers are %v, want three, the first on port %d", got, port)
	}
	produce(t, one.Brokers(), "one", "a")
	if got := consume(t, one.Brokers(), "one"); !slices.Equal(got, []string{"0:a"}) {
		t.Errorf("the topic holds %v", got)
	}
	topics, err := kadm.NewClient(newClient(t, one.Brokers())).ListTopics(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(topics["wide"].Partitions); n != 12 {
		t.Errorf("the topic has %d partitions, want 12", n)
	}
	topics, err = kadm.NewClient(newClient(t, other.Brokers())).ListTopics(t.Context())
	if err != nil || len(topics) != 0 {
		t.Errorf("the other cluster has topics %v, %v", topics.Names(), err)
	}
	if clusterID(t, one.Brokers()) == clusterID(t, other.Brokers()) {
		t.Error("two clusters have one id")
	}
}

func TestBrokerWithTLSAndUsers(t *testing.T) {
	t.Parallel()
	certificate, roots := selfSigned(t)
	b := startBroker(t, BrokerOptions{
		TLS:    &tls.Config{Certificates: []tls.Certificate{certificate}},
		Users:  []BrokerUser{{Mechanism: "SCRAM-SHA-256", Name: "alice", Password: "secret"}},
		Topics: []BrokerTopic{{"guarded", 1}},
	})
	ping := func(password string) error {
		client := newClient(t, b.Brokers(), kgo.DialTLSConfig(&tls.Config{RootCAs: roots}), kgo.RetryTimeout(time.Second),
			kgo.SASL(scram.Auth{User: "alice", Pass: password}.AsSha256Mechanism()))
		_, err := kadm.NewClient(client).ListTopics(t.Context())
		return err
	}
	if err := ping("secret"); err != nil {
		t.Errorf("with the password: %v", err)
	}
	if err := ping("guess"); err == nil {
		t.Error("a wrong password is let in")
	}
}

// A password that was changed counts from the next start on, also where the log
// is kept.
func TestBrokerTakesTheUsersOfItsStart(t *testing.T) {
	t.Parallel()
	opts := BrokerOptions{Dir: t.TempDir()}
	for _, password := range []string{"first", "second"} {
		opts.Users = []BrokerUser{{Mechanism: "SCRAM-SHA-256", Name: "alice", Password: password}}
		b := startBroker(t, opts)
		client := newClient(t, b.Brokers(), kgo.RetryTimeout(time.Second), kgo.SASL(scram.Auth{User: "alice", Pass: password}.AsSha256Mechanism()))
		if _, err := kadm.NewClient(client).ListTopics(t.Context()); err != nil {
			t.Errorf("with the %s password: %v", password, err)
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func selfSigned(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(time.Hour),
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA:         true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
