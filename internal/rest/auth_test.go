package rest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCredentials: who may do what, with a password, a token, one that may only read,
// or with none.
func TestCredentials(t *testing.T) {
	t.Parallel()
	var c Credentials
	if err := c.ReadUsers(write(t, "# people\nanna = pass:wörd=1\n\n")); err != nil {
		t.Fatal(err)
	}
	// sha256 of "0123456789abcdef"
	if err := c.ReadTokens(write(t, `[{"name":"ci","access":"full","token":"full-token-of-ci-1"},
		{"name":"grafana","access":"read-only","sha256":"9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f"}]`)); err != nil {
		t.Fatal(err)
	}
	opts := options()
	opts.Credentials = &c
	opts.MetricsListeners = []string{"http://127.0.0.1:0"}
	urls := setup(t, opts)
	basic := func(user, password string) string {
		r := &http.Request{Header: http.Header{}}
		r.SetBasicAuth(user, password)
		return r.Header.Get("Authorization")
	}
	for _, tt := range []struct {
		method, path, authorization string
		code                        int
	}{
		{"GET", "/", "", 401},
		{"GET", "/health", "", 401},
		{"GET", "/", "Basic Og==", 401},
		{"GET", "/", basic("anna", "pass:wörd=1"), 200},
		{"GET", "/", strings.ToLower(basic("anna", "x")[:5]) + basic("anna", "pass:wörd=1")[5:], 200},
		{"GET", "/", basic("anna", "wrong"), 401},
		{"GET", "/", basic("", ""), 401},
		{"GET", "/", "Bearer full-token-of-ci-1", 200},
		{"GET", "/", "Basic full-token-of-ci-1", 401},
		{"GET", "/", "Bearer anna:pass:wörd=1", 401},
		{"POST", "/", "Bearer full-token-of-ci-1", 405},
		{"GET", "/", "Bearer 0123456789abcdef", 200},
		{"HEAD", "/", "Bearer 0123456789abcdef", 200},
		{"POST", "/", "Bearer 0123456789abcdef", 403},
		{"DELETE", "/connectors/a", "Bearer 0123456789abcdef", 403},
		{"PUT", "/connector-plugins/a/config/validate", "Bearer 0123456789abcdef", 404},
		{"PUT", "/connector-plugins/a/config/validate/", "Bearer 0123456789abcdef", 404},
		{"PUT", "/admin/loggers/root%2Fconfig%2Fvalidate", "Bearer 0123456789abcdef", 403},
		{"DELETE", "/connectors/a%2Fconfig%2Fvalidate", "Bearer 0123456789abcdef", 403},
	} {
		code, header := send(t, tt.method, urls[0]+tt.path, http.Header{"Authorization": {tt.authorization}})
		if code != tt.code || (code == 401) != (header.Get("WWW-Authenticate") != "") {
			t.Errorf("%s %s with %q: %d, want %d", tt.method, tt.path, tt.authorization, code, tt.code)
		}
	}
	for _, path := range []string{"/health", "/metrics"} {
		if code, _ := send(t, "GET", urls[1]+path, nil); code != 200 {
			t.Errorf("%s of metrics.listeners: %d", path, code)
		}
	}
}

func send(t *testing.T, method, url string, header http.Header) (int, http.Header) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	if host := header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode, resp.Header
}

// TestOtherSites: a page of another site, in a browser of this machine, gets nothing.
func TestOtherSites(t *testing.T) {
	t.Parallel()
	url := setup(t, options())[0]
	host := strings.TrimPrefix(url, "http://")
	_, port, _ := net.SplitHostPort(host)
	for name, tt := range map[string]struct {
		header http.Header
		code   int
	}{
		"no browser":                  {nil, 200},
		"its own page":                {http.Header{"Origin": {url}}, 200},
		"localhost":                   {http.Header{"Host": {"localhost:" + port}}, 200},
		"another site":                {http.Header{"Origin": {"https://example.org"}}, 403},
		"a file":                      {http.Header{"Origin": {"null"}}, 403},
		"a name that leads here":      {http.Header{"Host": {"example.org:" + port}}, 403},
		"such a name as its own page": {http.Header{"Host": {"example.org:" + port}, "Origin": {"http://example.org:" + port}}, 403},
	} {
		if code, header := send(t, "GET", url+"/", tt.header); code != tt.code || header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %d, want %d", name, code, tt.code)
		}
	}
}

// TestCheckSecurity: what others can reach asks for credentials, over TLS.
func TestCheckSecurity(t *testing.T) {
	t.Parallel()
	none, some := &Credentials{}, &Credentials{all: make([]credential, 1)}
	for _, tt := range []struct {
		listener string
		c        *Credentials
		want     string
	}{
		{"http://127.0.0.1:8083", none, ""},
		{"http://[::1]:0", none, ""},
		{"http://localhost:0", nil, ""},
		{"http://:8083", none, "everyone there could change connectors"},
		{"http://0.0.0.0:8083", nil, "everyone there could change connectors"},
		{"https://0.0.0.0:8083", none, "everyone there could change connectors"},
		{"http://example.org:8083", some, "passwords would cross the network"},
		{"https://:8083", some, ""},
	} {
		err := CheckSecurity(tt.listener, tt.c)
		if (err == nil) != (tt.want == "") || err != nil && (!strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), "--insecure")) {
			t.Errorf("%s: %v, want %q", tt.listener, err, tt.want)
		}
	}
}

// TestCredentialsFaults: a file that cannot be used says where it is wrong, and shows
// nothing that is secret.
func TestCredentialsFaults(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                "holds no user",
		"anna\n":          ":1: a line is user=password",
		"a=b\nan:na=hun2": ":2: a line is user=password",
		"a=":              ":1: a line is user=password",
	} {
		if err := new(Credentials).ReadUsers(write(t, text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hun2") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	for text, want := range map[string]string{
		"":   "no list of tokens",
		"[]": "holds no token",
		`[{"name":"a","access":"full","token":"hun2"}]`:                                                     "less than 16 bytes",
		`[{"name":"a","access":"some","token":"hun2hun2hun2hun2"}]`:                                         "neither full nor read-only",
		`[{"name":"a","access":"full"}]`:                                                                    "either token or sha256",
		`[{"name":"a","access":"full","sha256":"hun2"}]`:                                                    "no SHA-256",
		`[{"name":"a","access":"full","token":"hun2hun2hun2hun2","more":1}]`:                                "no list of tokens",
		`[{"access":"full","token":"hun2hun2hun2hun2"},{"access":"read-only","token":"a","sha256":"hun2"}]`: "token 2: give either",
	} {
		if err := new(Credentials).ReadTokens(write(t, text)); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hun2") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// TestHTTPS: a listener with https speaks TLS alone, and needs a certificate.
func TestHTTPS(t *testing.T) {
	t.Parallel()
	opts := options()
	opts.Listeners = []string{"https://127.0.0.1:0"}
	if _, err := Listen(context.Background(), opts); err == nil || !strings.Contains(err.Error(), "listeners.https.ssl.certificate.location") {
		t.Fatalf("without a certificate: %v", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	opts.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	url := setup(t, opts)[0]
	if !strings.HasPrefix(url, "https://127.0.0.1:") {
		t.Fatalf("the address is %s", url)
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/health", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Error(resp.Status)
	}
	if code, _ := send(t, "GET", "http"+strings.TrimPrefix(url, "https")+"/health", nil); code != 400 {
		t.Errorf("without TLS: %d", code)
	}
}
