package timescalesink

import (
	"fmt"
	"strings"
	"time"
)

// Names of the sink's own tables.
const (
	ledgerTable      = "connector_ledger"
	generationsTable = "connector_generations"
	deadLettersTable = "connector_dead_letters"
	topicsTable      = "connector_topics"
)

// ownTable declares one of the sink's own tables. A column that a later version
// adds goes to the end of columns, with a default or nullable, so that an old and
// a new binary can run side by side.
type ownTable struct {
	name        string
	columns     []ownColumn
	constraints []string
	options     string
	indexes     []string // with %s for the schema
}

type ownColumn struct{ name, definition string }

var ownTables = []ownTable{
	{
		name: generationsTable,
		columns: []ownColumn{
			{"connector", "text NOT NULL"},
			{"generation", "integer NOT NULL"},
			{"kind", "text NOT NULL"},
			{"state", "text NOT NULL"},
			{"target", "jsonb"},
			{"created_at", "timestamptz NOT NULL DEFAULT now()"},
			{"closed_at", "timestamptz"},
			{"note", "text"},
		},
		constraints: []string{"PRIMARY KEY (connector, generation)", "CHECK (kind IN ('live', 'replay'))"},
		indexes: []string{
			`CREATE UNIQUE INDEX IF NOT EXISTS connector_generations_live ON %s.connector_generations (connector) WHERE kind = 'live' AND closed_at IS NULL`,
		},
	},
	{
		name: ledgerTable,
		columns: []ownColumn{
			{"connector", "text NOT NULL"},
			{"generation", "integer NOT NULL"},
			{"topic", "text NOT NULL"},
			{"partition", "integer NOT NULL"},
			{"topic_id", "text NOT NULL DEFAULT ''"},
			{"start_offset", "bigint NOT NULL"},
			{"next_offset", "bigint NOT NULL"},
			{"end_offset", "bigint"},
			{"last_offset", "bigint"},
			{"last_time", "timestamptz"},
			{"written", "bigint NOT NULL DEFAULT 0"},
			{"inserted", "bigint NOT NULL DEFAULT 0"},
			{"unchanged", "bigint NOT NULL DEFAULT 0"},
			{"merged", "bigint NOT NULL DEFAULT 0"},
			{"stale", "bigint NOT NULL DEFAULT 0"},
			{"dead_lettered", "bigint NOT NULL DEFAULT 0"},
			{"filtered", "bigint NOT NULL DEFAULT 0"},
			{"absent", "bigint NOT NULL DEFAULT 0"},
			{"expired", "bigint NOT NULL DEFAULT 0"},
			{"closed_at", "timestamptz"},
			{"updated_at", "timestamptz NOT NULL DEFAULT now()"},
		},
		constraints: []string{
			"PRIMARY KEY (connector, generation, topic, partition)",
			// Promise 3: every offset is accounted for.
			`CONSTRAINT connector_ledger_accounts CHECK (written + unchanged + merged + stale + dead_lettered + filtered + absent + expired = next_offset - start_offset)`,
			"CONSTRAINT connector_ledger_fates CHECK (least(written, unchanged, merged, stale, dead_lettered, filtered, absent, expired) >= 0)",
			"CONSTRAINT connector_ledger_inserted CHECK (inserted BETWEEN 0 AND written)",
		},
		// Every Put updates its rows in place: room on the page keeps that out of the index.
		options: " WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000)",
	},
	{
		name: deadLettersTable,
		columns: []ownColumn{
			{"connector", "text NOT NULL"},
			{"generation", "integer NOT NULL"},
			{"topic", "text NOT NULL"},
			{"partition", "integer NOT NULL"},
			{"offset", "bigint NOT NULL"},
			{"time", "timestamptz"}, // the record's Kafka timestamp
			{"stage", "text NOT NULL"},
			{"reason", "text NOT NULL"},
			{"sqlstate", "text"},
			{"column_name", "text"},
			{"message", "text NOT NULL"},
			{"key", "bytea"},
			{"value", "bytea"},
			{"headers", "jsonb"},
			{"published_at", "timestamptz"},
			{"redriven_at", "timestamptz"},
			{"created_at", "timestamptz NOT NULL DEFAULT now()"},
		},
		constraints: []string{`PRIMARY KEY (connector, generation, topic, partition, "offset")`},
		indexes: []string{
			`CREATE INDEX IF NOT EXISTS connector_dead_letters_unpublished ON %s.connector_dead_letters (connector, topic, partition, "offset") WHERE published_at IS NULL`,
		},
	},
	{
		name: topicsTable,
		columns: []ownColumn{
			{"id", "integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY"},
			{"topic", "text NOT NULL"},
			{"topic_id", "text NOT NULL DEFAULT ''"},
			{"first_seen", "timestamptz NOT NULL DEFAULT now()"},
		},
		constraints: []string{"UNIQUE (topic, topic_id)"},
	},
}

// statements give the DDL of the table, all of which may be run again.
func (t *ownTable) statements(schema string) []string {
	parts := make([]string, 0, len(t.columns)+len(t.constraints))
	for _, c := range t.columns {
		parts = append(parts, quote(c.name)+" "+c.definition)
	}
	parts = append(parts, t.constraints...)
	out := []string{fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n  %s\n)%s",
		quote(schema, t.name), strings.Join(parts, ",\n  "), t.options)}
	return append(out, t.indexStatements(schema)...)
}

func (t *ownTable) indexStatements(schema string) []string {
	var out []string
	for _, index := range t.indexes {
		out = append(out, fmt.Sprintf(index, quote(schema)))
	}
	return out
}

// createStatements give the DDL of a kind's table and what hangs on it.
func (c *Config) createStatements(t *table, e edition) []string {
	name := quote(c.SchemaName, c.tableName(t.kind))
	var parts []string
	for _, col := range t.columns() {
		part := quote(col.name) + " " + col.sqlType
		if col.notNull {
			part += " NOT NULL"
		}
		parts = append(parts, part)
	}
	if !c.isTape(t) {
		parts = append(parts, "PRIMARY KEY ("+quoted("", t.key)+")")
	}
	out := []string{
		fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (\n  %s\n)", name, strings.Join(parts, ",\n  ")),
		fmt.Sprintf("SELECT %[1]s.create_hypertable(%[2]s, %[1]s.by_range('time', %[3]s), create_default_indexes => false, if_not_exists => true)",
			quote(e.schema), literal(name), interval(c.chunkInterval(t.kind))),
		fmt.Sprintf(`CREATE INDEX ON %s USING brin ("time")`, name),
	}
	if t.view != "" {
		out = append(out, fmt.Sprintf("CREATE OR REPLACE VIEW %s AS "+t.viewSQL, quote(c.SchemaName, c.tableName(t.kind)+t.view), name))
	}
	if c.isTape(t) && c.TapeReplayIndex {
		out = append(out, fmt.Sprintf("CREATE INDEX ON %s (origin_topic, origin_partition, origin_offset)", name))
	}
	if e.community && c.CompressAfter > 0 {
		out = append(out,
			fmt.Sprintf("ALTER TABLE %s SET (timescaledb.compress, timescaledb.compress_segmentby = %s, timescaledb.compress_orderby = %s)",
				name, literal(t.segment), literal(t.order)),
			fmt.Sprintf("SELECT %s.add_compression_policy(%s, %s, if_not_exists => true)", quote(e.schema), literal(name), interval(c.CompressAfter)))
	}
	if e.community && c.Retention > 0 {
		out = append(out, c.retentionStatement(t, e))
	}
	return out
}

func (c *Config) retentionStatement(t *table, e edition) string {
	return fmt.Sprintf("SELECT %s.add_retention_policy(%s, %s, if_not_exists => true)",
		quote(e.schema), literal(quote(c.SchemaName, c.tableName(t.kind))), interval(c.Retention))
}

// interval writes a duration for SQL, in whole milliseconds.
func interval(d time.Duration) string {
	millis := d.Milliseconds()
	return fmt.Sprintf("make_interval(secs => %d.%03d)", millis/1000, millis%1000)
}

func literal(s string) string {
	quoted := "'" + strings.ReplaceAll(s, "'", "''") + "'"
	if strings.Contains(s, `\`) {
		return " E" + strings.ReplaceAll(quoted, `\`, `\\`)
	}
	return quoted
}
