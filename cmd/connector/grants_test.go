package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// documentedGrants is the SQL in docs/operations.md, for another schema, role
// and password.
func documentedGrants(t *testing.T, schema, role, password string) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(page), "```sql\n")
	sql, _, closed := strings.Cut(rest, "```")
	if !ok || !closed || !strings.HasPrefix(sql, "CREATE ROLE tickconnect ") {
		t.Fatalf("docs/operations.md has no SQL that makes a role: %s", sql)
	}
	sql = strings.NewReplacer("ROLE tickconnect ", "ROLE "+role+" ", "TO tickconnect;", "TO "+role+";", "change-me", password,
		"SCHEMA market ", "SCHEMA "+schema+" ", "market.", schema+".").Replace(sql)
	if strings.Contains(sql, "tickconnect;") || strings.Contains(sql, "market") {
		t.Fatalf("not all names were replaced in %s", sql)
	}
	return sql
}

// TestDocumentedGrantsAreEnough: a role that has what docs/operations.md gives
// it, and no more, can do all that a connector and its commands do.
func TestDocumentedGrantsAreEnough(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	records := map[string]string{
		"crypto-prices":        price(1),
		"crypto-ohlcv":         `{"exchangeId":"kraken","symbol":"BTC","interval":"1m","time":1700000000000,"open":"1","high":"2","low":"1","close":"2","volume":"3","source":"test"}`,
		"crypto-level1":        `{"exchangeId":"kraken","symbol":"BTC","time":1700000000000,"bidPrice":"1","askPrice":"2"}`,
		"crypto-trades":        `{"exchangeId":"kraken","symbol":"BTC","tradeId":"1","time":1700000000000,"price":"1","size":"2"}`,
		"crypto-analytics":     `{"time":1700000000000,"totalMarketCap":"1","source":"test"}`,
		"crypto-funding":       `{"exchangeId":"kraken","symbol":"BTC","time":1700000000000,"rate":"0.0001"}`,
		"crypto-open-interest": `{"exchangeId":"kraken","symbol":"BTC","time":1700000000000,"openInterest":"1"}`,
		"crypto-liquidations":  `{"exchangeId":"kraken","symbol":"BTC","time":1700000000000,"size":"1"}`,
		"crypto-book":          `{"exchangeId":"kraken","symbol":"BTC","time":1700000000000,"snapshot":true,"bids":[["1","2"]]}`,
	}
	for topic, value := range records {
		s.createTopic(t, topic, 1)
		s.produce(t, topic, 0, value)
	}
	maker := startConnector(t, s.config(t, "^crypto-.+$", impatient))
	audited(t, s.config(t, "^crypto-.+$", ""))
	if code := maker.signal(t, syscall.SIGTERM); code != 0 {
		t.Fatalf("exit code %d after SIGTERM", code)
	}

	admin, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	schema := pgx.Identifier{s.schema}.Sanitize()
	name := "grants_" + s.schema
	role := pgx.Identifier{name[:min(63, len(name))]}.Sanitize()
	t.Cleanup(func() {
		ctx := context.Background()
		for _, sql := range []string{"DROP OWNED BY " + role, "DROP ROLE " + role} {
			if _, err := admin.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
		admin.Close(ctx)
	})
	if _, err := admin.Exec(t.Context(), documentedGrants(t, schema, role, "secret")); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(strings.Trim(role, `"`), "secret")
	asRole := *s
	asRole.url = u.String()
	config := asRole.config(t, "^crypto-.+$", impatient)

	for topic, value := range records {
		s.produce(t, topic, 0, value, "nonsense")
	}
	code, out, errOut := command(t, "validate", "-c", config, "-o", "json")
	var r report
	if err := json.Unmarshal([]byte(out), &r); err != nil || code != 0 {
		t.Fatalf("validate: exit code %d, %v: %s%s", code, err, out, errOut)
	}
	for _, f := range r.all() {
		if f.Level == levelError || f.Level == levelWarning && f.Key == "connection.user" {
			t.Errorf("validate says %+v", *f)
		}
	}
	p := startConnector(t, config)
	for _, line := range audited(t, config) {
		if line.Next != 3 || line.DeadLettered != 1 {
			t.Errorf("the account is %+v", line)
		}
	}
	p.waitHealth(t, http.StatusOK)
	code, out, errOut = command(t, "offsets", "reset", "market", "-c", config, "--topic", "crypto-trades", "--to", "earliest", "--yes")
	if code != 0 {
		t.Errorf("offsets reset: exit code %d, %s%s", code, out, errOut)
	}
	audited(t, config)
	code, out, errOut = command(t, "dead-letters", "list", "-c", config)
	if code != 0 || !strings.Contains(out, fmt.Sprintf("market: %d dead letters", len(records))) {
		t.Errorf("dead-letters list: exit code %d, %s%s", code, out, errOut)
	}
	// Deleting the account is not the connector's.
	for of, table := range map[string]string{"dead-letters": "connector_dead_letters", "offsets": "connector_ledger"} {
		code, _, errOut := command(t, of, "purge", "-c", config, "--older-than", "0s", "--yes")
		if code != 1 || !strings.Contains(errOut, "permission denied for table "+table) {
			t.Errorf("%s purge: exit code %d, %s", of, code, errOut)
		}
	}
}
