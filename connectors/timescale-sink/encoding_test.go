package timescalesink

import (
	"net/url"
	"strings"
	"testing"

	"github.com/qicore/tickconnect/connect"
)

// TestEncodingIsPinned: texts arrive as they are, whatever encoding the URL or
// the role asks for.
func TestEncodingIsPinned(t *testing.T) {
	t.Parallel()
	f := setup(t, func(c *Config) {
		u, err := url.Parse(c.ConnectionURL)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		q.Set("client_encoding", "LATIN1")
		u.RawQuery = q.Encode()
		c.ConnectionURL = u.String()
	})
	c := f.connector()
	p := tp(trades, 0)
	s := f.opened(c, p)
	f.put(s, part(c, p, symbolTrade(0, "BTC€", "1")))
	if got := value[string](f, f.in("SELECT symbol FROM %s.crypto_trades")); got != "BTC€" {
		t.Errorf("stored %q", got)
	}
}

// TestForeignEncodingIsFound before anything is stored.
func TestForeignEncodingIsFound(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	name := f.cfg.SchemaName + "_latin1"
	f.exec("CREATE DATABASE " + quote(name) + " ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
	t.Cleanup(func() { f.exec("DROP DATABASE " + quote(name) + " WITH (FORCE)") })
	u, err := url.Parse(f.cfg.ConnectionURL)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "/" + name
	f.cfg.ConnectionURL = u.String()
	c := f.connector()
	for _, finding := range c.Check(f.ctx(), nil) {
		if finding.Level == "error" && strings.Contains(finding.Message, "LATIN1") {
			return
		}
	}
	t.Error("Check finds nothing wrong with LATIN1")
}

// TestApplicationName: the server shows what was sent, so that endBlockers finds
// the connector's backends, and connectors with long names have different ones.
func TestApplicationName(t *testing.T) {
	t.Parallel()
	f := setup(t, nil)
	seen := map[string]string{}
	for _, connector := range []string{
		"market", "Märkte", "M\u2028rkte", strings.Repeat("a", 52), strings.Repeat("a", 51), strings.Repeat("a", 51) + "ää",
		strings.Repeat("a", 60) + "1", strings.Repeat("a", 60) + "2", "tab\there",
	} {
		f.name = connector
		s := f.opened(f.connector(), connect.TopicPartition{Topic: trades})
		shown := value[string](f, "SELECT application_name FROM pg_stat_activity WHERE pid = $1", int64(s.conn.PgConn().PID()))
		if shown != applicationName(connector) {
			t.Errorf("%q: the server shows %q, want %q", connector, shown, applicationName(connector))
		}
		if other, ok := seen[shown]; ok {
			t.Errorf("%q and %q have one name, %q", connector, other, shown)
		}
		seen[shown] = connector
	}
}
