package timescalesink

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/converters"
	"github.com/qicore/tickconnect/marketdata"
)

// checker collects what a check finds.
type checker struct {
	*Connector
	q        querier
	role     string
	mayMake  bool // the role may make tables in the schema, or the schema itself
	findings []connect.Finding
}

// Check implements connect.Checker.
func (c *Connector) Check(ctx context.Context, topics []string) []connect.Finding {
	k := &checker{Connector: c}
	k.checkConverter(ctx)
	conn, err := c.pool.Acquire(ctx)
	if err != nil {
		k.add("error", "connection.url", "", "no connection to the database: %v", adviseTLS(err))
		return k.findings
	}
	defer conn.Release()
	k.q = conn
	kinds := k.checkTopics(topics)
	if err := k.run(ctx, conn.Conn(), kinds); err != nil {
		k.add("error", "connection.url", "", "the check did not end: %v", err)
	}
	return k.findings
}

func (k *checker) add(level, key, fix, format string, args ...any) {
	k.findings = append(k.findings, connect.Finding{Level: level, Key: key, Message: fmt.Sprintf(format, args...), Fix: fix})
}

func (k *checker) checkConverter(ctx context.Context) {
	p, ok := k.converter.(converters.Pinger)
	if !ok {
		return
	}
	if err := p.Ping(ctx); err != nil {
		k.add("error", "value.converter", "", "%v; records wait until it answers", err)
	}
}

func (k *checker) checkTopics(topics []string) []marketdata.Kind {
	var kinds []marketdata.Kind
	read := map[string][]string{} // topics by what they hold
	for _, topic := range topics {
		of, ok := k.kindsOf(topic)
		if !ok {
			reason, fix := k.refusal(topic)
			if k.converter == nil {
				fix = "kinds.ignore"
			}
			k.add("error", "topics", fix, "topic %s: %s; its partitions will be refused", topic, reason)
		}
		kinds = append(kinds, of...)
		if ok && k.converter != nil {
			holds := heldKinds(of)
			read[holds] = append(read[holds], topic)
		}
	}
	for _, holds := range slices.Sorted(maps.Keys(read)) {
		k.add("info", "value.converter", "", "%s reads %s from %s", k.cfg.ValueConverter, holds, someOf(read[holds]))
	}
	slices.Sort(kinds)
	return slices.Compact(kinds)
}

func heldKinds(kinds []marketdata.Kind) string {
	if len(kinds) == 0 {
		return "nothing that is stored"
	}
	names := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		names = append(names, kind.String())
	}
	return strings.Join(names, ", ")
}

// someOf names the first topics of a list.
func someOf(topics []string) string {
	const show = 5
	word := "topic "
	if len(topics) > 1 {
		word = "topics "
	}
	if more := len(topics) - show; more > 0 {
		return fmt.Sprintf("%s%s and %d more", word, strings.Join(topics[:show], ", "), more)
	}
	return word + strings.Join(topics, ", ")
}

func (k *checker) run(ctx context.Context, conn *pgx.Conn, kinds []marketdata.Kind) error {
	if err := k.checkServer(ctx, conn); err != nil {
		return err
	}
	e, err := findEdition(ctx, k.q)
	if err != nil {
		return err
	}
	k.checkEdition(e)
	if err := k.checkOwnTables(ctx); err != nil {
		return err
	}
	for _, kind := range kinds {
		if err := k.checkTable(ctx, tableOf(kind), e); err != nil {
			return err
		}
	}
	return nil
}

func (k *checker) checkServer(ctx context.Context, conn *pgx.Conn) error {
	var pid, used, most, limit int32
	var readOnly bool
	var version, encoding string
	err := k.q.QueryRow(ctx, `SELECT pg_backend_pid(), current_user::text, current_setting('server_version'), current_setting('server_encoding'),
			current_setting('transaction_read_only') = 'on', current_setting('max_connections')::int4,
			(SELECT count(*)::int4 FROM pg_catalog.pg_stat_activity WHERE backend_type = 'client backend'),
			(SELECT rolconnlimit FROM pg_catalog.pg_roles WHERE rolname = current_user),
			CASE WHEN to_regnamespace($1) IS NULL THEN has_database_privilege(current_database(), 'CREATE')
				ELSE has_schema_privilege($2, 'CREATE') END`, quote(k.cfg.SchemaName), k.cfg.SchemaName).
		Scan(&pid, &k.role, &version, &encoding, &readOnly, &most, &used, &limit, &k.mayMake)
	if err != nil {
		return err
	}
	k.add("info", "", "", "PostgreSQL %s, role %s", version, k.role)
	if uint32(pid) != conn.PgConn().PID() {
		k.add("info", "connection.url", "", "a connection pooler stands between; its transaction mode is enough")
	}
	if encoding != "UTF8" {
		k.add("error", "connection.url", "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0;",
			"the database's encoding is %s; it must be UTF8, or texts are refused or changed", encoding)
	}
	if readOnly {
		k.add("error", "connection.url", "target_session_attrs=read-write", "the server takes no writes: it is a standby, or default_transaction_read_only is on")
	}
	// Each task has a connection of its own beside the pool.
	need := int32(k.cfg.PoolSize) + 2
	if free := most - used; free < need {
		k.add("warning", "connection.pool.size", "", "%d of the server's %d connections are free; each replica takes %d and one more for each task", free, most, k.cfg.PoolSize)
	}
	if limit >= 0 && limit < need {
		k.add("warning", "connection.user", fmt.Sprintf("ALTER ROLE %s CONNECTION LIMIT -1;", quote(k.role)), "the role may have %d connections", limit)
	}
	return nil
}

func (k *checker) checkEdition(e edition) {
	if e.community {
		k.add("info", "", "", "TimescaleDB %s, Community edition", e.version)
		return
	}
	k.add("info", "", "", "TimescaleDB %s, Apache edition: no columnstore, no retention policy, no continuous aggregates", e.version)
	if k.cfg.Retention > 0 {
		k.add("warning", "retention.ms", "SELECT drop_chunks('<table>', older_than => interval '<age>');",
			"the Apache edition has no retention policy; run drop_chunks from a scheduler")
	}
}

func (k *checker) checkOwnTables(ctx context.Context) error {
	missing, err := k.schema.missingOwn(ctx, k.q)
	if err != nil {
		return err
	}
	k.checkMaking("the ledger's tables in schema "+k.cfg.SchemaName, missing)
	for i := range ownTables {
		if err := k.checkPrivileges(ctx, ownTables[i].name, []string{"SELECT", "INSERT", "UPDATE"}, "error"); err != nil {
			return err
		}
	}
	return nil
}

// checkMaking says whether statements that are still to be run can be.
func (k *checker) checkMaking(what string, statements []string) {
	fix := strings.Join(statements, ";\n") + ";"
	switch {
	case len(statements) == 0:
	case !k.cfg.AutoCreate:
		k.add("error", "auto.create", fix, "%s: not complete, and auto.create is false", what)
	case !k.mayMake:
		k.add("error", "connection.user", fix, "%s: not complete, and role %s may not make them", what, k.role)
	default:
		k.add("info", "auto.create", "", "%s: will be made", what)
	}
}

// checkPrivileges looks at a table that is there.
func (k *checker) checkPrivileges(ctx context.Context, table string, privileges []string, level string) error {
	name := quote(k.cfg.SchemaName, table)
	for _, privilege := range privileges {
		var has *bool
		if err := k.q.QueryRow(ctx, "SELECT has_table_privilege(to_regclass($1), $2)", name, privilege).Scan(&has); err != nil {
			return err
		}
		if has != nil && !*has {
			k.add(level, "connection.user", fmt.Sprintf("GRANT %s ON %s TO %s;", privilege, name, quote(k.role)),
				"role %s lacks %s on %s", k.role, privilege, name)
		}
	}
	return nil
}

func (k *checker) checkTable(ctx context.Context, t *table, e edition) error {
	key, name := "table."+t.kind.String(), k.cfg.tableName(t.kind)
	found, err := findTable(ctx, k.q, k.cfg.SchemaName, name)
	if err != nil {
		return err
	}
	if !found.exists {
		k.checkMaking("table "+quote(k.cfg.SchemaName, name), k.cfg.createStatements(t, e))
		return nil
	}
	for _, f := range k.cfg.flaws(t, found) {
		k.add("error", key, f.fix, "%s", f.message)
	}
	if !found.hypertable {
		k.add("warning", key, fmt.Sprintf("SELECT create_hypertable(%s, by_range('time'), migrate_data => true);", literal(quote(k.cfg.SchemaName, name))),
			"table %s is no hypertable; it is used as it is", name)
	}
	for _, c := range t.rowColumns() {
		if got := found.column(c.name); got != nil && got.limit.precision > 0 {
			k.add("warning", key, fmt.Sprintf("ALTER TABLE %s ALTER COLUMN %s TYPE numeric;", quote(k.cfg.SchemaName, name), quote(c.name)),
				"column %s of %s is %s: values with more digits become dead letters", c.name, name, got.sqlType)
		}
	}
	needs := []string{"SELECT", "INSERT", "UPDATE"}
	if k.cfg.isTape(t) {
		needs = []string{"INSERT"}
		if k.cfg.TapeReplayIndex {
			needs = append(needs, "SELECT", "DELETE")
		}
	}
	if err := k.checkPrivileges(ctx, name, needs, "error"); err != nil {
		return err
	}
	if found.hypertable && !slices.Contains(needs, "DELETE") {
		// Without it chunks are not made ahead, and writers may wait for one another.
		return k.checkPrivileges(ctx, name, []string{"DELETE"}, "warning")
	}
	return nil
}
