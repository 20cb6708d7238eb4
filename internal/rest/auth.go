package rest

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
)

// secretBytesMin is the length below which a token could be guessed.
const secretBytesMin = 16

// Credentials are who may use the API. They are kept as hashes. Without any everyone
// may.
type Credentials struct{ all []credential }

type credential struct {
	hash     [sha256.Size]byte // of what the header Authorization holds behind its scheme's name
	scheme   string            // basic or bearer
	readOnly bool
}

// ReadUsers adds the users of a file, with lines user=password as that of Kafka
// Connect's PropertyFileLoginModule. Errors show no password.
func (c *Credentials) ReadUsers(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	found := 0
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		user, password, ok := strings.Cut(line, "=")
		user, password = strings.TrimSpace(user), strings.TrimSpace(password)
		if !ok || user == "" || password == "" || strings.Contains(user, ":") {
			return fmt.Errorf("%s:%d: a line is user=password, the user without a colon", path, i+1)
		}
		c.all = append(c.all, credential{sha256.Sum256([]byte(user + ":" + password)), "basic", false})
		found++
	}
	if found == 0 {
		return fmt.Errorf("%s holds no user", path)
	}
	return nil
}

// tokenEntry is a token as the file has it.
type tokenEntry struct {
	Name   string `json:"name"` // for people
	Token  string `json:"token"`
	SHA256 string `json:"sha256"`
	Access string `json:"access"`
}

// ReadTokens adds the tokens of a JSON file: a list of objects with name, access (full
// or read-only), and token or sha256, its hash in hexadecimal. Errors show none.
func (c *Credentials) ReadTokens(path string) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var entries []tokenEntry
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&entries); err != nil {
		return fmt.Errorf("%s: it is no list of tokens with name, access, and token or sha256", path)
	}
	if len(entries) == 0 {
		return fmt.Errorf("%s holds no token", path)
	}
	for i, e := range entries {
		t := credential{scheme: "bearer", readOnly: e.Access == "read-only"}
		hash, err := hex.DecodeString(e.SHA256)
		switch {
		case e.Access != "full" && e.Access != "read-only":
			return fmt.Errorf("%s: token %d: access: it is neither full nor read-only", path, i+1)
		case (e.Token == "") == (e.SHA256 == ""):
			return fmt.Errorf("%s: token %d: give either token or sha256", path, i+1)
		case e.Token != "" && len(e.Token) < secretBytesMin:
			return fmt.Errorf("%s: token %d: it has less than %d bytes and could be guessed", path, i+1, secretBytesMin)
		case e.SHA256 != "" && (err != nil || len(hash) != sha256.Size):
			return fmt.Errorf("%s: token %d: sha256: it is no SHA-256 in hexadecimal", path, i+1)
		case e.Token != "":
			t.hash = sha256.Sum256([]byte(e.Token))
		default:
			copy(t.hash[:], hash)
		}
		c.all = append(c.all, t)
	}
	return nil
}

// Any says whether there are credentials at all.
func (c *Credentials) Any() bool { return c != nil && len(c.all) > 0 }

// find gives who a request is of; ok is false where it is of nobody.
func (c *Credentials) find(r *http.Request) (found credential, ok bool) {
	scheme, secret, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	scheme = strings.ToLower(scheme)
	if scheme == "basic" {
		user, password, parsed := r.BasicAuth()
		if !parsed {
			return credential{}, false
		}
		secret = user + ":" + password
	}
	hash := sha256.Sum256([]byte(secret))
	for _, known := range c.all {
		if known.scheme == scheme && subtle.ConstantTimeCompare(known.hash[:], hash[:]) == 1 {
			found, ok = known, true
		}
	}
	return found, ok
}

// guard lets through who may use the API.
func (c *Credentials) guard(next http.Handler) http.Handler {
	if !c.Any() {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, ok := c.find(r)
		switch {
		case !ok:
			w.Header().Set("WWW-Authenticate", `Basic realm="connect"`)
			fail(w, http.StatusUnauthorized, "User cannot access the resource.")
		case who.readOnly && r.Method != http.MethodGet && r.Method != http.MethodHead && !validates(r):
			fail(w, http.StatusForbidden, "This token may only read.")
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// validates says whether a request only has a configuration checked. The path counts as
// it was sent: a slash in the name of something else is none.
func validates(r *http.Request) bool {
	path := strings.TrimSuffix(r.URL.EscapedPath(), "/")
	return strings.HasPrefix(path, "/connector-plugins/") && strings.HasSuffix(path, "/config/validate") && strings.Count(path, "/") == 4
}

// ownSite refuses what a browser sends for another site's page: cross-origin requests
// are not allowed. On a loopback listener it also refuses names that are not the
// machine's own, by which a page could reach it (DNS rebinding).
func ownSite(loopback bool, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if origin := r.Header.Get("Origin"); origin != "" {
			if u, err := url.Parse(origin); err != nil || u.Host != r.Host {
				fail(w, http.StatusForbidden, "Requests of other sites' pages are not allowed.")
				return
			}
		}
		if loopback && !isLoopbackHost(r.Host) {
			fail(w, http.StatusForbidden, "This listener is for this machine alone, under its loopback address or localhost.")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopbackHost(hostPort string) bool {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = strings.Trim(hostPort, "[]")
	}
	ip, err := netip.ParseAddr(host)
	return strings.EqualFold(host, "localhost") || err == nil && ip.IsLoopback()
}

// IsLoopback says whether a listener can be reached from this machine alone. A name
// counts only where it is localhost: who knows what another resolves to.
func IsLoopback(listener string) bool {
	u, err := url.Parse(listener)
	return err == nil && u.Hostname() != "" && isLoopbackHost(u.Host)
}

// CheckSecurity says why a listener must not be opened, or nil: from elsewhere the API
// is for those alone who prove who they are, over TLS.
func CheckSecurity(listener string, c *Credentials) error {
	switch {
	case IsLoopback(listener):
		return nil
	case !c.Any():
		return errors.New("it can be reached from elsewhere, and everyone there could change connectors: set rest.basic.auth.path or rest.tokens.path, " +
			"listen on http://127.0.0.1:PORT, or start with --insecure where something before it asks for a password")
	case !strings.HasPrefix(listener, "https:"):
		return errors.New("passwords would cross the network as they are: make it https:// and set listeners.https.ssl.certificate.location, " +
			"or start with --insecure where a proxy before it speaks TLS")
	}
	return nil
}
