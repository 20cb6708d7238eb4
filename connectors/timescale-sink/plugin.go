package timescalesink

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/converters"
)

// Plugin is the timescale-sink.
func Plugin() connect.Plugin {
	return connect.Plugin{
		Class:   "timescale-sink",
		Aliases: []string{"TimescaleSink", "timescaledb-sink"},
		Config:  func() connect.Config { return Default() },
		New: func(name string, cfg connect.Config, env connect.Env) (connect.Connector, error) {
			c, ok := cfg.(*Config)
			if !ok {
				return nil, fmt.Errorf("connector %s: its configuration is a %T", name, cfg)
			}
			return New(name, c, env)
		},
	}
}

// Counters are what the sink counts beside the ledger. They only grow.
type Counters struct {
	ExchangeMismatches atomic.Int64 // records whose exchange is not their topic's; the record's is stored
	UnknownFields      atomic.Int64 // fields of records that no column takes
	BackendsEnded      atomic.Int64 // backends ended since they held ledger rows too long
	PutRetries         atomic.Int64 // transactions made again at once, after a deadlock and the like
	ChunksMade         atomic.Int64 // chunks made ahead of the transactions that need them
	FloatDecimals      atomic.Int64 // decimals that were JSON numbers
	LongFloats         atomic.Int64 // those of them with more than 15 digits

	// Of records that a converter reads.
	ReceiveTimes atomic.Int64 // records whose time is when their producer received them
	MillisTimes  atomic.Int64 // records whose times were in milliseconds where seconds are the rule
	QuoteAmounts atomic.Int64 // records with an amount in the quote currency
	ProducerGaps atomic.Int64 // records that say that messages before them may be missing
}

// Connector is one configured database, shared by its sinks.
type Connector struct {
	name       string
	cfg        *Config
	log        *slog.Logger
	connConfig *pgx.ConnConfig
	pool       *pgxpool.Pool
	schema     *schemaCache
	statements ledgerStatements
	converter  converters.Converter // nil for the native form
	preparer   *preparer
	counters   Counters
	outbox     outbox
	// statementRows is the most rows of one statement.
	statementRows int
}

const statementRowsMax = 20_000

// New makes a connector; it does not connect yet.
func New(name string, cfg *Config, env connect.Env) (*Connector, error) {
	log := env.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	connConfig, err := cfg.connConfig(name)
	if err != nil {
		return nil, err
	}
	pool, err := newPool(cfg, connConfig)
	if err != nil {
		return nil, err
	}
	c := &Connector{
		name: name, cfg: cfg, log: log.With("connector", name), connConfig: connConfig, pool: pool,
		statements: newLedgerStatements(cfg.SchemaName), statementRows: statementRowsMax,
		outbox: outbox{gate: newGate()},
	}
	c.schema = newSchemaCache(cfg, c.log)
	c.converter = cfg.Converter()
	c.preparer = newPreparer(cfg, c.converter, c.schema, &c.counters)
	return c, nil
}

// NewSink implements connect.Connector.
func (c *Connector) NewSink(int) (connect.Sink, error) {
	return &Sink{connector: c, open: map[connect.TopicPartition]openPartition{}}, nil
}

// Delivery implements connect.Connector.
func (c *Connector) Delivery() connect.Delivery {
	why := "the ledger in the database moves in the transaction that stores the rows"
	if c.cfg.InsertMode == modeTape {
		why += "; it alone keeps the tape free of doubles"
	}
	return connect.Delivery{ExactlyOnce: true, Why: why}
}

// Prepare implements connect.Preparer. Where a table's columns keep fewer
// digits than a value has, it knows that once a sink has opened the topic.
func (c *Connector) Prepare(dst []byte, topic string, partition int32, r *connect.Record) ([]byte, error) {
	return c.preparer.prepare(dst, topic, partition, r)
}

// Counters gives what the connector counts.
func (c *Connector) Counters() *Counters { return &c.counters }

// Close implements connect.Connector.
func (c *Connector) Close() error {
	c.pool.Close()
	return nil
}

// settingsStep bounds the statements of a transaction. The settings are the
// transaction's own, since behind PgBouncer the session is not.
func (c *Connector) settingsStep() step {
	var p params
	for _, d := range []time.Duration{c.cfg.StatementTimeout, c.cfg.LockTimeout, c.cfg.StatementTimeout} {
		p.text(millis(d))
	}
	return step{doing: "setting the timeouts", sql: settingsSQL, params: p}
}

const settingsSQL = `SELECT set_config('statement_timeout', $1, true), set_config('lock_timeout', $2, true),
	set_config('idle_in_transaction_session_timeout', $3, true)`

func (c *Connector) setLocal(ctx context.Context, tx pgx.Tx) error {
	statement := millis(c.cfg.StatementTimeout)
	_, err := tx.Exec(ctx, settingsSQL, statement, millis(c.cfg.LockTimeout), statement)
	return err
}

func millis(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
