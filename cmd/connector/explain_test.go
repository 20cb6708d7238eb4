package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// TestExplainRow: from a row to the bytes that it comes from, and whether the
// configuration would make the same row of them now.
func TestExplainRow(t *testing.T) {
	t.Parallel()
	s := newStack(t)
	topic := "crypto-trades-kraken"
	s.createTopic(t, topic, 1)
	trade := func(id, price string) string {
		return fmt.Sprintf(`{"exchangeId":"kraken","symbol":"BTC","tradeId":%q,"time":"2024-08-08T23:56:00Z","price":%q,"size":"0.50","bid":"9"}`, id, price)
	}
	s.produce(t, topic, 0, trade("1", "61800.30"), trade("2", "1.0"), trade("2", "2.00"), trade("3", "3"))
	config := s.config(t, "^crypto-trades-.+$", "")
	p := startConnector(t, config)
	audited(t, config)
	explain := func(config string, args ...string) (int, []rowExplanation, string) {
		t.Helper()
		code, out, errOut := command(t, append([]string{"explain-row", "-c", config, "-o", "json"}, args...)...)
		var answer struct{ Rows []rowExplanation }
		if out != "" {
			if err := json.Unmarshal([]byte(out), &answer); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
		}
		return code, answer.Rows, errOut
	}
	code, rows, errOut := explain(config, "crypto_trades", "kraken", "BTC", "2")
	if code != 0 || len(rows) != 1 || !rows[0].Equal || rows[0].Origin.Offset != 2 || string(rows[0].Record.Value) != trade("2", "2.00") ||
		string(rows[0].Record.Key) != "BTC" || rows[0].Connector != "market" {
		t.Errorf("exit code %d, %+v, %s", code, rows, errOut)
	}
	code, out, errOut := command(t, "explain-row", "crypto_trades", "-c", config, "trade_id=1")
	for _, want := range []string{
		"a row of crypto_trades, stored by market, from crypto-trades-kraken/0@0 of ", "  price        61800.30\n", "  size         0.50\n", "  flags        NULL\n",
		"key: 3 bytes of text\n    BTC\n", trade("1", "61800.30"), "it is what the configuration makes of the record.\n",
	} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d, the answer is\n%s%s\nwithout %q", code, out, errOut, want)
		}
	}
	if code, rows, errOut = explain(config, "crypto_trades", "--limit", "2"); code != 0 || len(rows) != 2 {
		t.Errorf("exit code %d, %d rows, %s", code, len(rows), errOut)
	}

	// Another configuration makes another row, a dead letter, or nothing.
	for settings, want := range map[string]string{
		"    value.converter: json\n    value.converter.fields: price=bid\n":                                    "it differs in price",
		"    value.converter: json\n    value.converter.fields: price=none\n":                                   "would become a dead letter: missing_field price",
		"    value.converter: json\n    value.converter.kind: trade\n    value.converter.fields: tradeId=bid\n": "would give no row with this key",
	} {
		code, rows, errOut := explain(s.config(t, "^crypto-trades-.+$", settings), "crypto_trades", "trade_id=3")
		if code != 1 || len(rows) != 1 || rows[0].Equal || !strings.Contains(rows[0].Verdict, want) || rows[0].Record == nil {
			t.Errorf("%s: exit code %d, %+v, %s; want %q", settings, code, rows, errOut, want)
		}
	}
	for _, tt := range []struct{ args, want string }{
		{"crypto_trade", "there is no table crypto_trade; there are crypto_analytics, crypto_book"},
		{"crypto_trades kraken BTC 9", "table crypto_trades has no such row"},
		{"crypto_trades nothing=1", "table crypto_trades has no column nothing"},
		{"crypto_trades a b c 2024-08-08T23:56:00Z e", `"e" is one value too many: the natural key of crypto_trades is exchange_id, symbol, trade_id, time`},
		{"crypto_trades time=never", "invalid input syntax for type timestamp"},
		{"crypto_trades --limit 0", "--limit: 0 is less than 1"},
	} {
		if code, _, errOut := explain(config, strings.Fields(tt.args)...); code != 1 || !strings.Contains(errOut, tt.want) {
			t.Errorf("%s: exit code %d, %s; want %q", tt.args, code, errOut, tt.want)
		}
	}

	// A row that nobody of us wrote, and one whose record is gone.
	conn, err := pgx.Connect(t.Context(), s.url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	_, err = conn.Exec(t.Context(), "INSERT INTO "+pgx.Identifier{s.schema, "crypto_trades"}.Sanitize()+
		" (exchange_id, symbol, trade_id, time, price, size) VALUES ('kraken', 'BTC', 'by hand', '2024-08-08T23:56:00Z', 1, 1)")
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(s.brokers...))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, 0, 1, -1)
	if _, err := kadm.NewClient(client).DeleteRecords(t.Context(), offsets); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]string{
		"by hand": "no connector wrote it",
		"1":       "its record is deleted: the log of crypto-trades-kraken/0 begins at 1",
		"3":       "it is what the configuration makes of the record",
	} {
		if _, rows, errOut := explain(config, "crypto_trades", "trade_id="+id); len(rows) != 1 || !strings.Contains(rows[0].Verdict, want) {
			t.Errorf("%s: %+v, %s; want %q", id, rows, errOut, want)
		}
	}
	p.waitHealth(t, 200)
}
