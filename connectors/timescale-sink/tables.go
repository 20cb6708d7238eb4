package timescalesink

import (
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/marketdata"
)

// column is a column that the sink writes.
type column struct {
	name    string
	sqlType string
	notNull bool
}

// element is the type of the elements in which an INSERT sends the column.
func (c column) element() string {
	if c.isArray() { // an array of arrays would be unnested to the bottom
		return "text"
	}
	return c.sqlType
}

func (c column) isArray() bool { return strings.HasSuffix(c.sqlType, "[]") }

// table is what a kind of market data is stored in: its key columns, its value
// columns, then the origin of the row, which every table has.
type table struct {
	kind    marketdata.Kind
	key     []column // in the order of the row; the last one is the time
	values  []column
	tape    bool // the kind has no natural key: rows are only appended
	segment string
	order   string
	// view is SQL of a view that is made with the table: its name's ending, and a
	// query with %s for the table.
	view, viewSQL string
}

// hasArrays says whether a row's fields hold an array, as a text.
func (t *table) hasArrays() bool {
	return slices.ContainsFunc(t.values, func(c column) bool { return c.isArray() && c != flagsColumn })
}

// timeColumn is the hypertable's dimension in every table.
const timeColumn = "time"

func key(name string) column     { return column{name, "text", true} }
func text(name string) column    { return column{name, "text", false} }
func decimal(name string) column { return column{name, "numeric", false} }
func needed(name string) column  { return column{name, "numeric", true} }

func numerics(name string) column { return column{name, "numeric[]", false} }

var keyTime = column{timeColumn, "timestamptz", true}

// flagsColumn is the last value column of every table.
var flagsColumn = column{"flags", "text[]", false}

// originColumns say which record a row comes from. origin_topic is an id of
// connector_topics; origin_time is the record's Kafka timestamp.
var originColumns = []column{
	{"origin_topic", "integer", false},
	{"origin_partition", "integer", false},
	{"origin_offset", "bigint", false},
	{"origin_time", "timestamptz", false},
}

// tables are in the fixed order in which every transaction writes them
// (promise 2). prepare.go writes a row's fields in the order of the columns here.
var tables = []*table{
	{
		kind: marketdata.KindPrice,
		key:  []column{key("coin_id"), key("exchange_id"), keyTime},
		values: []column{
			text("symbol"), needed("usd_price"), decimal("market_cap"), decimal("volume_24h"),
			text("source"), text("attribution"), flagsColumn,
		},
		segment: "coin_id,exchange_id", order: "time DESC",
	},
	{
		kind: marketdata.KindOHLCV,
		key:  []column{key("exchange_id"), key("symbol"), key("interval"), key("source"), keyTime},
		values: []column{
			needed("open"), needed("high"), needed("low"), needed("close"), needed("volume"),
			decimal("quote_volume"),
			{"trades", "bigint", false},
			decimal("vwap"),
			{"closed", "boolean", false},
			flagsColumn,
		},
		segment: "exchange_id,symbol,interval,source", order: "time DESC",
	},
	{
		kind: marketdata.KindLevel1,
		key:  []column{key("exchange_id"), key("symbol"), keyTime},
		values: []column{
			decimal("bid_price"), decimal("bid_size"), decimal("ask_price"), decimal("ask_size"),
			decimal("sequence"), text("source"), flagsColumn,
		},
		tape:    true,
		segment: "exchange_id,symbol", order: "time DESC",
	},
	{
		kind: marketdata.KindTrade,
		key:  []column{key("exchange_id"), key("symbol"), key("trade_id"), keyTime},
		values: []column{
			needed("price"), needed("size"), text("side"), text("source"), flagsColumn,
		},
		segment: "exchange_id,symbol", order: "time DESC, trade_id",
	},
	{
		kind: marketdata.KindAnalytics,
		key:  []column{key("exchange_id"), key("symbol"), key("source"), keyTime},
		values: []column{
			decimal("total_market_cap"), decimal("total_volume"), decimal("btc_dominance"), decimal("eth_dominance"),
			decimal("active_cryptocurrencies"), decimal("markets"), decimal("market_cap_change_24h"),
			{"metrics", "jsonb", false},
			text("attribution"), flagsColumn,
		},
		segment: "exchange_id,symbol,source", order: "time DESC",
	},
	{
		kind: marketdata.KindFunding,
		key:  []column{key("exchange_id"), key("symbol"), key("source"), keyTime},
		values: []column{
			decimal("rate"), decimal("predicted_rate"),
			{"next_funding_time", "timestamptz", false},
			decimal("mark_price"), decimal("index_price"), flagsColumn,
		},
		segment: "exchange_id,symbol,source", order: "time DESC",
	},
	{
		kind: marketdata.KindOpenInterest,
		key:  []column{key("exchange_id"), key("symbol"), key("source"), keyTime},
		values: []column{
			needed("open_interest"), decimal("open_interest_value"), flagsColumn,
		},
		segment: "exchange_id,symbol,source", order: "time DESC",
	},
	{
		kind: marketdata.KindLiquidation,
		key:  []column{key("exchange_id"), key("symbol"), key("liquidation_id"), keyTime},
		values: []column{
			decimal("price"), needed("size"), text("side"), text("status"), text("source"), flagsColumn,
		},
		segment: "exchange_id,symbol", order: "time DESC, liquidation_id",
	},
	{
		kind: marketdata.KindBook,
		key:  []column{key("exchange_id"), key("symbol"), keyTime},
		values: []column{
			{"snapshot", "boolean", true},
			decimal("epoch"), decimal("sequence"),
			numerics("bid_prices"), numerics("bid_sizes"), numerics("ask_prices"), numerics("ask_sizes"),
			text("source"), flagsColumn,
		},
		tape:    true,
		segment: "exchange_id,symbol", order: "time DESC",
		// Nothing is guessed while a row is stored, so that storing it again gives the
		// same row: which snapshot a change follows is told by where both lie in the log.
		view: "_epochs",
		viewSQL: `SELECT b.*, max(origin_offset) FILTER (WHERE snapshot) OVER (PARTITION BY exchange_id, symbol, origin_topic, origin_partition
			ORDER BY origin_offset) AS snapshot_offset FROM %s AS b`,
	},
}

func tableOf(kind marketdata.Kind) *table { return tables[int(kind)-int(marketdata.KindPrice)] }

// rowColumns are the columns whose fields a prepared row holds.
func (t *table) rowColumns() []column {
	return append(append(make([]column, 0, len(t.key)+len(t.values)), t.key...), t.values...)
}

// columns are all columns that the sink writes.
func (t *table) columns() []column { return append(t.rowColumns(), originColumns...) }

// quoted lists columns for SQL, each after prefix.
func quoted(prefix string, columns []column) string {
	var b strings.Builder
	for i, c := range columns {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(prefix)
		b.WriteString(quote(c.name))
	}
	return b.String()
}

func quote(names ...string) string { return pgx.Identifier(names).Sanitize() }
