package timescalesink

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// certRole logs in with a certificate and nothing else.
const certRole = "by_certificate"

const tlsAccess = `
hostssl all ` + certRole + ` 127.0.0.1/32 cert
host all ` + certRole + ` 127.0.0.1/32 reject
host all all 127.0.0.1/32 scram-sha-256
`

// TestTLS connects to a server that has a certificate and asks some for theirs.
// A server that cannot prove who it is counts as an outage, which says what to do:
// its certificate may be mended. A client that the server does not take is the
// operator's.
func TestTLS(t *testing.T) {
	t.Parallel()
	authority, other := testenv.NewAuthority(t), testenv.NewAuthority(t)
	hour := time.Now().Add(time.Hour)
	cert, key := authority.Issue("server", hour, "127.0.0.1")
	server := testenv.DatabaseWith(t, devstack.DatabaseOptions{
		Settings: map[string]string{"ssl": "on", "ssl_cert_file": "server.crt", "ssl_key_file": "server.key", "ssl_ca_file": "root.crt"},
		Files:    map[string][]byte{"server.crt": cert, "server.key": key, "root.crt": authority.PEM, "pg_hba.conf": []byte(tlsAccess)},
	})
	admin := setupAt(t, server.URL(), "public", nil)
	admin.exec("CREATE ROLE " + certRole + " SUPERUSER LOGIN")

	ca, otherCA := testenv.File(t, "ca.pem", authority.PEM), testenv.File(t, "other.pem", other.PEM)
	client := func(a *testenv.Authority, name string) string {
		cert, key := a.Issue(name, hour)
		return "&sslcert=" + url.QueryEscape(testenv.File(t, "client.pem", cert)) + "&sslkey=" + url.QueryEscape(testenv.File(t, "client.key", key))
	}
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	password, _ := u.User.Password()
	verify := "sslmode=verify-full&sslrootcert=" + url.QueryEscape(ca)
	byCertificate := "user=" + certRole + "&" + verify
	for name, test := range map[string]struct {
		host, query string
		kind        string // what the worker would do about the error
		says        []string
	}{
		"verified":                     {query: verify},
		"without a look at it":         {query: "sslmode=require"},
		"another host, verify-ca":      {host: "localhost", query: "sslmode=verify-ca&sslrootcert=" + url.QueryEscape(ca)},
		"with a client certificate":    {query: byCertificate + client(authority, certRole)},
		"another authority":            {query: "sslmode=verify-full&sslrootcert=" + url.QueryEscape(otherCA), kind: "retry", says: []string{"unknown authority", "connection.url", "sslrootcert"}},
		"the system's authorities":     {query: "sslmode=verify-full", kind: "retry", says: []string{"unknown authority", "connection.url", "sslrootcert"}},
		"another host":                 {host: "localhost", query: verify, kind: "retry", says: []string{"localhost", "connection.url", "host name"}},
		"without a client certificate": {query: byCertificate, kind: "stop", says: []string{"28000", "client certificate"}},
		"the certificate of another":   {query: byCertificate + client(authority, "somebody"), kind: "stop", says: []string{"28000", certRole}},
		// The server's alert may or may not be read before its end of the connection.
		"a certificate of another's CA": {query: byCertificate + client(other, certRole), kind: "retry"},
		"without TLS":                   {query: "user=" + certRole + "&sslmode=disable", kind: "stop", says: []string{"28000", "no encryption"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			to := *u
			to.RawQuery = test.query
			if test.host != "" {
				to.Host = test.host + ":" + strconv.Itoa(server.Port())
			}
			if strings.Contains(test.query, "user=") {
				to.User = nil
			}
			f := setupAt(t, server.URL(), strings.NewReplacer(" ", "_", ",", "", "'", "").Replace(name), func(c *Config) { c.ConnectionURL = to.String() })
			p := tp(trades, 0)
			if test.kind == "" {
				f.wantEncrypted()
				return
			}
			c := f.connector()
			_, err := f.sink(c).Open(f.ctx(), claims(p))
			wantKind(t, err, test.kind)
			found := c.Check(f.ctx(), nil)
			if len(found) != 1 || found[0].Level != "error" {
				t.Fatalf("Check finds %+v, want an error", found)
			}
			for _, text := range []string{fmt.Sprint(err), found[0].Message} {
				for _, says := range test.says {
					if !strings.Contains(text, says) {
						t.Errorf("%q does not say %q", text, says)
					}
				}
				if strings.Contains(text, password) {
					t.Error("the error holds the password")
				}
			}
		})
	}
	t.Run("JDBC", func(t *testing.T) {
		t.Parallel()
		f := setupAt(t, server.URL(), "jdbc", func(c *Config) {
			c.ConnectionURL = fmt.Sprintf("jdbc:postgresql://%s%s?ssl=true&sslrootcert=%s", u.Host, u.Path, url.QueryEscape(ca))
			c.ConnectionUser, c.ConnectionPassword = u.User.Username(), password
		})
		f.wantEncrypted()
	})
}

// wantEncrypted stores a row and checks that the connection is encrypted.
func (f *fixture) wantEncrypted() {
	f.Helper()
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, trade(0, 0, "a", "1")))
	if f.price("a") != "1" {
		f.Error("the row is not there")
	}
	if !value[bool](f, "SELECT ssl FROM pg_stat_ssl WHERE pid = $1", int32(s.conn.PgConn().PID())) {
		f.Error("the connection is not encrypted")
	}
}

// TestTLSFiles: a file that is missing or is not what it should be is named, and
// the password is not.
func TestTLSFiles(t *testing.T) {
	t.Parallel()
	authority := testenv.NewAuthority(t)
	cert, key := authority.Issue("client", time.Now().Add(time.Hour))
	_, otherKey := authority.Issue("client", time.Now().Add(time.Hour))
	file := func(content []byte) string { return url.QueryEscape(testenv.File(t, "f.pem", content)) }
	for query, says := range map[string]string{
		"sslmode=verify-full&sslrootcert=/no/such/ca.pem":                             "/no/such/ca.pem",
		"sslmode=verify-full&sslrootcert=" + file([]byte("no PEM")):                   "CA",
		"sslmode=require&sslcert=/no/such/cert.pem&sslkey=" + file(key):               "/no/such/cert.pem",
		"sslmode=require&sslkey=/no/such/key.pem&sslcert=" + file(cert):               "/no/such/key.pem",
		"sslmode=require&sslcert=" + file(cert):                                       "sslkey",
		"sslmode=require&sslcert=" + file(cert) + "&sslkey=" + file(otherKey):         "private key",
		"sslmode=require&sslcert=" + file(cert) + "&sslkey=" + file([]byte("no PEM")): "sslkey",
		"sslmode=always": "sslmode",
	} {
		cfg := Default()
		cfg.ConnectionURL = "postgres://u:s3cret@localhost/db?" + query
		err := cfg.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), "connection.url: ") || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: %v; want connection.url, %q and no password", query, err, says)
		}
	}
}
