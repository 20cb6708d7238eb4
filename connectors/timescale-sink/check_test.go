package timescalesink

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/qicore/tickconnect/connect"
)

// TestCheckSaysWhatAConverterReads: before a record is read, validate says what each
// topic may hold, and which topics are refused.
func TestCheckSaysWhatAConverterReads(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		converter string
		topics    []string
		want      []string // each of the findings, level and message
	}{
		{"native", []string{"crypto-trades", "x"}, []string{"error topic x: its name tells no kind of market data; its partitions will be refused"}},
		{"cryptofeed", []string{"trades-X-A", "index-X-A", "trades-X-B"}, []string{
			"info cryptofeed reads nothing that is stored from topic index-X-A",
			"info cryptofeed reads trade from topics trades-X-A, trades-X-B",
		}},
		{"tardis", []string{"a", "b", "c", "d", "e", "f", "g"}, []string{
			"info tardis reads ohlcv, level1, trade, funding, open_interest, liquidation, book from topics a, b, c, d, e and 2 more",
		}},
		{"ccxt", []string{"ccxt.okx.trades", "ccxt.okx.positions", "mine"}, []string{
			`error topic ccxt.okx.positions: its name tells the kind "positions", which is not stored; its partitions will be refused`,
			"error topic mine: nothing tells the exchange of its records, which CCXT's structures do not name; its partitions will be refused",
			"info ccxt reads trade from topic ccxt.okx.trades",
		}},
	} {
		cfg := Default()
		cfg.ConnectionURL, cfg.ValueConverter = "postgres://nobody@localhost/none", test.converter
		if err := cfg.Validate(); err != nil {
			t.Fatal(err)
		}
		c, err := New("check", cfg, connect.Env{})
		if err != nil {
			t.Fatal(err)
		}
		k := &checker{Connector: c}
		k.checkTopics(test.topics)
		if err := c.Close(); err != nil {
			t.Error(err)
		}
		var got []string
		for _, f := range k.findings {
			got = append(got, fmt.Sprint(f.Level, " ", f.Message))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s:\n%s\nwant\n%s", test.converter, strings.Join(got, "\n"), strings.Join(test.want, "\n"))
		}
	}
}

// TestCheckAsksTheRegistry: validate says when what the converter needs is away, and
// nothing when it answers.
func TestCheckAsksTheRegistry(t *testing.T) {
	t.Parallel()
	registry := srfake.New()
	defer registry.Close()
	cfg := Default()
	cfg.ConnectionURL, cfg.ValueConverter, cfg.RegistryURLs = "postgres://nobody@localhost/none", "protobuf", []string{registry.URL()}
	c, err := New("check", cfg, connect.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	k := &checker{Connector: c}
	if k.checkConverter(t.Context()); len(k.findings) > 0 {
		t.Errorf("it answers: %+v", k.findings)
	}
	registry.Intercept(func(w http.ResponseWriter, _ *http.Request) bool {
		w.WriteHeader(http.StatusUnauthorized)
		return true
	})
	k.checkConverter(t.Context())
	if len(k.findings) != 1 || k.findings[0].Level != "error" || !strings.Contains(k.findings[0].Message, "value.converter.schema.registry.url") {
		t.Errorf("it refuses: %+v", k.findings)
	}
}
