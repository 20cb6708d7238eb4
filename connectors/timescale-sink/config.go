package timescalesink

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/marketdata"
)

// Insert modes.
const (
	modeUpsert = "upsert"
	modeTape   = "tape"
)

// Config is the configuration of a timescale-sink connector. The keys of its
// durations end in .ms, as Kafka's do.
type Config struct {
	ConnectionURL      string `json:"connection.url" secret:"true" jsonschema:"required,description=The database: postgres://user:password@host:port/database or jdbc:postgresql://host:port/database. Several hosts are tried in order until one takes writes; sslmode and target_session_attrs and the like are passed on."`
	ConnectionUser     string `json:"connection.user" jsonschema:"description=The role; it beats the one in connection.url."`
	ConnectionPassword string `json:"connection.password" secret:"true" jsonschema:"description=The role's password; it beats the one in connection.url."`
	PoolSize           int    `json:"connection.pool.size" jsonschema:"description=The most connections for checks and dead letters; each task has one more of its own.,minimum=1,maximum=100"`

	converters.Config

	InsertMode string `json:"insert.mode" jsonschema:"description=upsert: one row for each natural key and the newer record wins. tape: every record is a row and tables have no unique index.,enum=upsert,enum=tape"`
	CopyMin    int    `json:"copy.min.rows" jsonschema:"description=Fewer rows than this for a table go in with INSERT in one round trip; from here on with COPY.,minimum=1,maximum=1000000"`

	SchemaName        string   `json:"schema.name" jsonschema:"description=The schema of the tables and of the ledger."`
	TablePrice        string   `json:"table.price" jsonschema:"description=The table of prices."`
	TableOHLCV        string   `json:"table.ohlcv" jsonschema:"description=The table of bars."`
	TableLevel1       string   `json:"table.level1" jsonschema:"description=The table of best bids and asks."`
	TableTrade        string   `json:"table.trade" jsonschema:"description=The table of trades."`
	TableAnalytics    string   `json:"table.analytics" jsonschema:"description=The table of analytics."`
	TableFunding      string   `json:"table.funding" jsonschema:"description=The table of funding rates."`
	TableOpenInterest string   `json:"table.open_interest" jsonschema:"description=The table of open interest."`
	TableLiquidation  string   `json:"table.liquidation" jsonschema:"description=The table of liquidations."`
	TableBook         string   `json:"table.book" jsonschema:"description=The table of order books. With it goes a view of the name with _epochs behind it."`
	AutoCreate        bool     `json:"auto.create" jsonschema:"description=Make the schema and tables and indexes that are missing. Without it their DDL is in the error."`
	KindsIgnore       []string `json:"kinds.ignore" jsonschema:"description=Kinds whose records are counted and not stored: one of those with a table or any other whose topics are named crypto-<kind> or crypto-<kind>-<exchange> such as options."`

	ChunkPrice     time.Duration `json:"chunk.interval.price.ms" jsonschema:"description=The time that one chunk of prices covers. It counts when the table is made."`
	ChunkOHLCV     time.Duration `json:"chunk.interval.ohlcv.ms" jsonschema:"description=The time that one chunk of bars covers."`
	ChunkLevel1    time.Duration `json:"chunk.interval.level1.ms" jsonschema:"description=The time that one chunk of best bids and asks covers."`
	ChunkTrade     time.Duration `json:"chunk.interval.trade.ms" jsonschema:"description=The time that one chunk of trades covers."`
	ChunkAnalytics time.Duration `json:"chunk.interval.analytics.ms" jsonschema:"description=The time that one chunk of analytics covers."`

	ChunkFunding      time.Duration `json:"chunk.interval.funding.ms" jsonschema:"description=The time that one chunk of funding rates covers."`
	ChunkOpenInterest time.Duration `json:"chunk.interval.open_interest.ms" jsonschema:"description=The time that one chunk of open interest covers."`
	ChunkLiquidation  time.Duration `json:"chunk.interval.liquidation.ms" jsonschema:"description=The time that one chunk of liquidations covers."`
	ChunkBook         time.Duration `json:"chunk.interval.book.ms" jsonschema:"description=The time that one chunk of order books covers."`

	CompressAfter time.Duration `json:"compress.after.ms" jsonschema:"description=Chunks older than this go to the columnstore. Keep it above the age of late data. 0: never. Community edition only."`
	Retention     time.Duration `json:"retention.ms" jsonschema:"description=Chunks older than this are dropped. 0: never. Community edition only."`

	StatementTimeout time.Duration `json:"statement.timeout.ms" jsonschema:"description=The longest that one statement may run."`
	LockTimeout      time.Duration `json:"lock.timeout.ms" jsonschema:"description=The longest wait for one lock."`
	FenceTimeout     time.Duration `json:"fence.timeout.ms" jsonschema:"description=After a ledger row was held this long by another backend of the same role and connector that backend is ended."`
	TapeReplayIndex  bool          `json:"tape.replay.index" jsonschema:"description=Keep an index on the origin of rows in tape tables so that a reset can replace what it stores again."`
}

// Default gives the defaults.
func Default() *Config {
	return &Config{
		Config:   converters.Default(),
		PoolSize: 2, InsertMode: modeUpsert, CopyMin: 100,
		SchemaName: "public", TablePrice: "crypto_prices", TableOHLCV: "crypto_ohlcv", TableLevel1: "crypto_level1",
		TableTrade: "crypto_trades", TableAnalytics: "crypto_analytics", TableFunding: "crypto_funding",
		TableOpenInterest: "crypto_open_interest", TableLiquidation: "crypto_liquidations", TableBook: "crypto_book", AutoCreate: true,
		ChunkPrice: day, ChunkOHLCV: 7 * day, ChunkLevel1: day, ChunkTrade: day, ChunkAnalytics: 7 * day,
		ChunkFunding: 7 * day, ChunkOpenInterest: 7 * day, ChunkLiquidation: 7 * day, ChunkBook: 6 * time.Hour,
		CompressAfter: 7 * day, StatementTimeout: 30 * time.Second, LockTimeout: 10 * time.Second, FenceTimeout: 10 * time.Second,
	}
}

const day = 24 * time.Hour

// Validate implements connect.Config.
func (c *Config) Validate() error {
	var errs []error
	fail := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	within := func(key string, v, low, high int64) {
		if v < low || v > high {
			fail("%s: %d is outside %d..%d", key, v, low, high)
		}
	}
	if c.ConnectionURL == "" {
		fail("connection.url: is missing")
	} else if _, err := c.connConfig(""); err != nil {
		errs = append(errs, err)
	}
	if err := c.Config.Validate(); err != nil {
		errs = append(errs, err)
	}
	if c.InsertMode != modeUpsert && c.InsertMode != modeTape {
		fail("insert.mode: %q is neither upsert nor tape", c.InsertMode)
	}
	within("connection.pool.size", int64(c.PoolSize), 1, 100)
	within("copy.min.rows", int64(c.CopyMin), 1, 1_000_000)
	lasts := func(key string, d, low, high time.Duration) {
		within(key, d.Milliseconds(), low.Milliseconds(), high.Milliseconds())
	}
	lasts("statement.timeout.ms", c.StatementTimeout, 100*time.Millisecond, time.Hour)
	lasts("lock.timeout.ms", c.LockTimeout, 10*time.Millisecond, time.Hour)
	lasts("fence.timeout.ms", c.FenceTimeout, 100*time.Millisecond, time.Hour)
	const century = 36_525 * day
	lasts("compress.after.ms", c.CompressAfter, 0, century)
	lasts("retention.ms", c.Retention, 0, century)
	if c.Retention > 0 && c.CompressAfter >= c.Retention {
		fail("compress.after.ms: %d is not below retention.ms, so nothing would ever be compressed", c.CompressAfter.Milliseconds())
	}

	names := map[string]string{}
	checkName := func(key, name string) {
		if name == "" || len(name) > 63 || strings.ContainsRune(name, 0) {
			fail("%s: %q is no PostgreSQL name: 1 to 63 bytes", key, name)
		}
	}
	checkName("schema.name", c.SchemaName)
	for _, kind := range marketdata.Kinds() {
		key, name := "table."+kind.String(), c.tableName(kind)
		checkName(key, name)
		if strings.HasPrefix(name, "connector_") {
			fail("%s: %q begins with connector_, as the sink's own tables do", key, name)
		}
		if other, taken := names[name]; taken {
			fail("%s: %q is the table of %s already", key, name, other)
		}
		names[name] = key
		lasts("chunk.interval."+kind.String()+".ms", c.chunkInterval(kind), time.Minute, century)
	}
	for _, kind := range c.KindsIgnore {
		if kind == "" || strings.ContainsAny(kind, " \t\n") {
			fail("kinds.ignore: %q is no kind", kind)
		}
	}
	return errors.Join(errs...)
}

func (c *Config) tableName(kind marketdata.Kind) string {
	return [marketdata.KindCount]string{
		c.TablePrice, c.TableOHLCV, c.TableLevel1, c.TableTrade, c.TableAnalytics,
		c.TableFunding, c.TableOpenInterest, c.TableLiquidation, c.TableBook,
	}[int(kind)-1]
}

func (c *Config) chunkInterval(kind marketdata.Kind) time.Duration {
	return [marketdata.KindCount]time.Duration{
		c.ChunkPrice, c.ChunkOHLCV, c.ChunkLevel1, c.ChunkTrade, c.ChunkAnalytics,
		c.ChunkFunding, c.ChunkOpenInterest, c.ChunkLiquidation, c.ChunkBook,
	}[int(kind)-1]
}

// isTape says whether the kind's rows are appended without a natural key.
func (c *Config) isTape(t *table) bool { return t.tape || c.InsertMode == modeTape }

// ignored says whether kinds.ignore names the kind, or what its topics are called.
func (c *Config) ignored(kind marketdata.Kind) bool {
	if len(c.KindsIgnore) == 0 {
		return false
	}
	topicWord := strings.TrimPrefix(marketdata.TopicName(kind, ""), "crypto-")
	return slices.Contains(c.KindsIgnore, kind.String()) || slices.Contains(c.KindsIgnore, topicWord)
}

// ignoredTopic says whether a topic of no known kind belongs to an ignored one.
func (c *Config) ignoredTopic(topic string) bool {
	rest, found := strings.CutPrefix(topic, "crypto-")
	if !found {
		return false
	}
	for _, kind := range c.KindsIgnore {
		if rest == kind || strings.HasPrefix(rest, kind+"-") {
			return true
		}
	}
	return false
}
