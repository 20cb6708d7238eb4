package timescalesink

import (
	"fmt"

	"github.com/qicore/tickconnect/connect"
)

// ledgerStatements are the statements on the sink's own tables, with the names
// of one schema.
type ledgerStatements struct {
	liveGeneration, lockLiveGeneration, insertGeneration    string
	topicRows, insertRows, adoptRows                        string
	adoptTopics, insertTopics, selectTopics                 string
	positions, openRows, freeRows, endBlockers, deadBelow   string
	storedBelow                                             string
	fenceGeneration, fenceLedger, moveLedger                string
	insertDeadLetters, supersedeDeadLetters                 string
	unpublished, markPublished                              string
	closeGeneration, closeRows, carryRows, nextGeneration   string
	retireTopics, allRows, listDeadLetters, showDeadLetters string
	planPurge, purgeDeadLetters                             string
	closedGenerations, purgeLedger, purgeGenerations        string
}

func newLedgerStatements(schema string) ledgerStatements {
	ledger, generations := quote(schema, ledgerTable), quote(schema, generationsTable)
	dead, topics := quote(schema, deadLettersTable), quote(schema, topicsTable)
	const live = `connector = $1 AND kind = 'live' AND closed_at IS NULL`
	const wanted = `SELECT * FROM unnest($3::text[], $4::int4[]) AS w(topic, partition)`
	return ledgerStatements{
		liveGeneration:     fmt.Sprintf(`SELECT generation FROM %s WHERE %s`, generations, live),
		lockLiveGeneration: fmt.Sprintf(`SELECT generation FROM %s WHERE %s FOR SHARE`, generations, live),
		insertGeneration: fmt.Sprintf(`INSERT INTO %s (connector, generation, kind, state)
			VALUES ($1, 0, 'live', 'running') ON CONFLICT DO NOTHING`, generations),

		topicRows: fmt.Sprintf(`SELECT topic, partition, topic_id, next_offset, last_offset, last_time, closed_at IS NOT NULL, `+unaccounted+`
			FROM %s l WHERE connector = $1 AND generation = $2 AND topic = ANY ($3::text[])`, ledger),
		insertRows: fmt.Sprintf(`INSERT INTO %s (connector, generation, topic, partition, topic_id, start_offset, next_offset)
			SELECT $1, $2::int4, topic, partition, topic_id, begin_offset, begin_offset
			FROM unnest($3::text[], $4::int4[], $5::text[], $6::int8[]) AS w(topic, partition, topic_id, begin_offset)
			ORDER BY topic, partition ON CONFLICT DO NOTHING`, ledger),
		// A row that a Put holds learns its topic's id another time.
		adoptRows: fmt.Sprintf(`WITH w AS (SELECT * FROM unnest($3::text[], $4::int4[], $5::text[]) AS w(topic, partition, topic_id)),
			free AS MATERIALIZED (SELECT l.topic, l.partition FROM %[1]s l JOIN w USING (topic, partition)
				WHERE l.connector = $1 AND l.generation = $2 AND l.topic_id = '' ORDER BY l.topic, l.partition FOR UPDATE OF l SKIP LOCKED)
			UPDATE %[1]s l SET topic_id = w.topic_id FROM w JOIN free USING (topic, partition)
			WHERE l.connector = $1 AND l.generation = $2 AND l.topic = w.topic AND l.partition = w.partition`, ledger),

		adoptTopics: fmt.Sprintf(`UPDATE %[1]s t SET topic_id = w.topic_id
			FROM (SELECT DISTINCT * FROM unnest($1::text[], $2::text[]) AS u(topic, topic_id)) w
			WHERE t.topic = w.topic AND t.topic_id = '' AND w.topic_id <> ''
			AND NOT EXISTS (SELECT FROM %[1]s o WHERE o.topic = w.topic AND o.topic_id = w.topic_id)`, topics),
		insertTopics: fmt.Sprintf(`INSERT INTO %[1]s (topic, topic_id)
			SELECT DISTINCT w.topic, w.topic_id FROM unnest($1::text[], $2::text[]) AS w(topic, topic_id)
			WHERE NOT EXISTS (SELECT FROM %[1]s o WHERE o.topic = w.topic
				AND (o.topic_id = w.topic_id OR w.topic_id = '' AND o.topic_id NOT LIKE 'before %%'))
			ON CONFLICT DO NOTHING`, topics),
		selectTopics: fmt.Sprintf(`SELECT id, topic, topic_id FROM %s WHERE topic = ANY ($1::text[]) ORDER BY id`, topics),

		positions: fmt.Sprintf(`SELECT l.topic, l.partition, l.topic_id, l.next_offset, l.last_offset, l.last_time, l.closed_at IS NOT NULL, `+unaccounted+`
			FROM %s l JOIN (%s) w USING (topic, partition) WHERE l.connector = $1 AND l.generation = $2`, ledger, wanted),
		openRows: fmt.Sprintf(`SELECT l.topic, l.partition, l.next_offset FROM %s l JOIN (%s) w USING (topic, partition)
			WHERE l.connector = $1 AND l.generation = $2 AND l.closed_at IS NULL
			AND EXISTS (SELECT FROM %s g WHERE g.connector = $1 AND g.generation = $2 AND g.closed_at IS NULL)`,
			ledger, wanted, generations),
		freeRows: fmt.Sprintf(`SELECT l.topic, l.partition FROM %s l JOIN (%s) w USING (topic, partition)
			WHERE l.connector = $1 AND l.generation = $2 ORDER BY l.topic, l.partition FOR UPDATE OF l SKIP LOCKED`, ledger, wanted),
		// Who holds a row has its transaction id in the row's xmax and a lock on that
		// id. Only a backend of the same role and the same connector is ended.
		endBlockers: fmt.Sprintf(`SELECT a.pid, pg_terminate_backend(a.pid) FROM pg_catalog.pg_stat_activity a
			WHERE a.pid <> pg_backend_pid() AND a.usename = session_user AND a.application_name = $5
			AND a.pid IN (SELECT k.pid FROM pg_catalog.pg_locks k WHERE k.locktype = 'transactionid' AND k.granted
				AND k.mode = 'ExclusiveLock' AND k.transactionid::text IN (
					SELECT l.xmax::text FROM %s l JOIN (%s) w USING (topic, partition) WHERE l.connector = $1 AND l.generation = $2))`,
			ledger, wanted),

		fenceGeneration: fmt.Sprintf(`SELECT 1 / count(*)::int4 FROM %s
			WHERE connector = $1 AND generation = $2 AND closed_at IS NULL`, generations),
		fenceLedger: fmt.Sprintf(`WITH held AS MATERIALIZED (
			SELECT l.next_offset, w.start_offset FROM unnest($3::text[], $4::int4[], $5::int8[]) AS w(topic, partition, start_offset)
			CROSS JOIN LATERAL (SELECT l.next_offset FROM %s l WHERE l.connector = $1 AND l.generation = $2
				AND l.topic = w.topic AND l.partition = w.partition AND l.closed_at IS NULL FOR UPDATE SKIP LOCKED) l)
			SELECT 1 / (count(*) = $6)::int4 FROM held WHERE next_offset = start_offset`, ledger),
		moveLedger: fmt.Sprintf(`WITH moved AS (UPDATE %[1]s l SET
				next_offset = w.next_offset, written = l.written + w.written, inserted = l.inserted + w.inserted,
				unchanged = l.unchanged + w.unchanged, merged = l.merged + w.merged, stale = l.stale + w.stale,
				dead_lettered = l.dead_lettered + w.dead_lettered, filtered = l.filtered + w.filtered,
				absent = l.absent + w.absent, expired = l.expired + w.expired,
				last_offset = COALESCE(w.last_offset, l.last_offset),
				last_time = CASE WHEN w.last_offset IS NULL THEN l.last_time ELSE w.last_time END, updated_at = now()
			FROM (SELECT w.*, k.ctid AS at FROM unnest($3::text[], $4::int4[], $5::int8[], $6::int8[], $7::int8[], $8::int8[], $9::int8[], $10::int8[],
				$11::int8[], $12::int8[], $13::int8[], $14::int8[], $15::int8[], $16::timestamptz[])
				AS w(topic, partition, next_offset, written, inserted, unchanged, merged, stale,
				dead_lettered, filtered, absent, expired, last_offset, last_time)
				CROSS JOIN LATERAL (SELECT k.ctid FROM %[1]s k WHERE k.connector = $1 AND k.generation = $2
					AND k.topic = w.topic AND k.partition = w.partition OFFSET 0) k) w
			WHERE l.ctid = w.at
			RETURNING 1) SELECT 1 / (count(*) = $17)::int4 FROM moved`, ledger),

		insertDeadLetters: fmt.Sprintf(`INSERT INTO %s (connector, generation, topic, partition, "offset", time,
				stage, reason, sqlstate, column_name, message, key, value, headers)
			SELECT $1, $2::int4, topic, partition, o, time, stage, reason, NULLIF(sqlstate, ''), NULLIF(column_name, ''), message, key, value,
				NULLIF(headers, '')::jsonb
			FROM unnest($3::text[], $4::int4[], $5::int8[], $6::timestamptz[], $7::text[], $8::text[], $9::text[], $10::text[],
				$11::text[], $12::bytea[], $13::bytea[], $14::text[])
				AS w(topic, partition, o, time, stage, reason, sqlstate, column_name, message, key, value, headers)
			ON CONFLICT DO NOTHING`, dead),
		deadBelow: fmt.Sprintf(`SELECT d.topic, d.partition, max(d."offset") + 1 FROM %s d JOIN (%s) w USING (topic, partition)
			WHERE d.connector = $1 AND d.generation < $2 AND d.redriven_at IS NULL GROUP BY 1, 2`, dead, wanted),
		storedBelow: fmt.Sprintf(`SELECT l.topic, l.partition, max(l.next_offset) FROM %s l JOIN (%s) w USING (topic, partition)
			WHERE l.connector = $1 AND l.generation < $2 GROUP BY 1, 2`, ledger, wanted),
		supersedeDeadLetters: fmt.Sprintf(`UPDATE %s d SET redriven_at = now()
			FROM unnest($3::text[], $4::int4[], $5::int8[], $6::int8[]) AS w(topic, partition, start_offset, next_offset)
			WHERE d.connector = $1 AND d.generation < $2 AND d.topic = w.topic AND d.partition = w.partition
			AND d."offset" >= w.start_offset AND d."offset" < w.next_offset AND d.redriven_at IS NULL`, dead),
		// As many as fit $3 bytes, but one at least; $4 to $7 are those to go past.
		unpublished: fmt.Sprintf(`SELECT `+deadLetterColumns+` FROM (
			SELECT d.*, row_number() OVER w AS n, sum(COALESCE(octet_length(key), 0) + COALESCE(octet_length(value), 0)
				+ COALESCE(pg_column_size(headers), 0)) OVER w AS bytes
			FROM (SELECT * FROM %s WHERE connector = $1 AND published_at IS NULL
				AND (generation, topic, partition, "offset") NOT IN (SELECT * FROM unnest($4::int4[], $5::text[], $6::int4[], $7::int8[]))
				ORDER BY topic, partition, "offset", generation LIMIT $2) d
			WINDOW w AS (ORDER BY topic, partition, "offset", generation)) page
			WHERE n = 1 OR bytes <= $3 ORDER BY n`, dead),
		markPublished: fmt.Sprintf(`UPDATE %s d SET published_at = now()
			FROM unnest($2::int4[], $3::text[], $4::int4[], $5::int8[]) AS w(generation, topic, partition, o)
			WHERE d.connector = $1 AND d.generation = w.generation AND d.topic = w.topic AND d.partition = w.partition AND d."offset" = w.o`, dead),

		closeGeneration: fmt.Sprintf(`UPDATE %s SET closed_at = now(), state = 'closed' WHERE %s RETURNING generation`, generations, live),
		nextGeneration: fmt.Sprintf(`INSERT INTO %[1]s (connector, generation, kind, state, note)
			SELECT $1, max(generation) + 1, 'live', 'running', $2 FROM %[1]s WHERE connector = $1 RETURNING generation`, generations),
		closeRows: fmt.Sprintf(`UPDATE %s SET closed_at = now(), updated_at = now()
			WHERE connector = $1 AND generation = $2 AND closed_at IS NULL
			RETURNING topic, partition, topic_id, next_offset, last_offset, last_time`, ledger),
		carryRows: fmt.Sprintf(`INSERT INTO %s (connector, generation, topic, partition, topic_id, start_offset, next_offset, last_offset, last_time)
			SELECT $1, $2::int4, topic, partition, topic_id, next_offset, next_offset, last_offset, last_time
			FROM unnest($3::text[], $4::int4[], $5::text[], $6::int8[], $7::int8[], $8::timestamptz[])
				AS w(topic, partition, topic_id, next_offset, last_offset, last_time)`, ledger),
		retireTopics: fmt.Sprintf(`UPDATE %s SET topic_id = 'before ' || $2::text
			WHERE topic = ANY ($1::text[]) AND topic_id = ''`, topics),
		allRows: fmt.Sprintf(`SELECT l.generation, g.kind, g.state, l.topic, l.partition, l.topic_id, l.start_offset, l.next_offset,
				l.end_offset, l.last_offset, l.last_time, l.written, l.inserted, l.unchanged, l.merged, l.stale,
				l.dead_lettered, l.filtered, l.absent, l.expired, l.closed_at, l.updated_at
			FROM %s l JOIN %s g USING (connector, generation) WHERE l.connector = $1 ORDER BY l.generation, l.topic, l.partition`,
			ledger, generations),
		listDeadLetters: fmt.Sprintf(`SELECT `+deadLetterColumns+`
			FROM %s WHERE connector = $1 AND ($2 = '' OR topic = $2) AND ($3 OR redriven_at IS NULL)
			AND (topic, partition, "offset", generation) > ($4, $5::int4, $6::int8, $7::int4)
			ORDER BY topic, partition, "offset", generation LIMIT $8`, dead),
		showDeadLetters: fmt.Sprintf(`SELECT `+deadLetterColumns+`
			FROM %s WHERE connector = $1 AND topic = $2 AND partition = $3 AND "offset" = $4 ORDER BY generation DESC`, dead),
		planPurge: fmt.Sprintf(`SELECT $5::bool AND published_at IS NULL AS stays, reason, count(*), min(created_at), max(created_at)
			FROM %s WHERE connector = $1 AND created_at < $2 AND ($3 = '' OR topic = $3) AND ($4 = '' OR reason = $4)
			GROUP BY 1, 2 ORDER BY 3 DESC, 2`, dead),
		purgeDeadLetters: fmt.Sprintf(`DELETE FROM %[1]s WHERE ctid = ANY (ARRAY(
			SELECT ctid FROM %[1]s WHERE connector = $1 AND created_at < $2 AND ($3 = '' OR topic = $3) AND ($4 = '' OR reason = $4)
			AND NOT ($5::bool AND published_at IS NULL) LIMIT $6 FOR UPDATE))`, dead),
		closedGenerations: fmt.Sprintf(`WITH live AS (SELECT l.* FROM %[1]s l JOIN %[2]s g USING (connector, generation)
				WHERE l.connector = $1 AND g.kind = 'live' AND g.closed_at IS NULL)
			SELECT g.generation, g.kind, g.created_at, g.closed_at, COALESCE(g.note, ''),
				(SELECT count(*) FROM %[1]s l WHERE l.connector = g.connector AND l.generation = g.generation),
				CASE WHEN g.generation = (SELECT max(generation) FROM %[2]s WHERE connector = $1)
				THEN 'it is the latest'
				WHEN EXISTS (SELECT FROM %[1]s l LEFT JOIN live n USING (topic, partition)
					WHERE l.connector = g.connector AND l.generation = g.generation
					AND (n.next_offset IS NULL OR (n.topic_id = '' OR l.topic_id IN ('', n.topic_id)) AND n.next_offset < l.next_offset))
				THEN 'the live generation went back behind it'
				ELSE '' END
			FROM %[2]s g WHERE g.connector = $1 AND g.closed_at < $2 ORDER BY g.generation`, ledger, generations),
		purgeLedger:      fmt.Sprintf(`DELETE FROM %s WHERE connector = $1 AND generation = ANY ($2::int4[])`, ledger),
		purgeGenerations: fmt.Sprintf(`DELETE FROM %s WHERE connector = $1 AND generation = ANY ($2::int4[])`, generations),
	}
}

// unaccounted is what the CHECK connector_ledger_accounts keeps at 0, taken from the
// row again: a CHECK may be dropped, and what was restored may lack it.
const unaccounted = `l.next_offset - l.start_offset
	- (l.written + l.unchanged + l.merged + l.stale + l.dead_lettered + l.filtered + l.absent + l.expired)`

// deadLetterColumns are those that scanDeadLetter reads.
const deadLetterColumns = `generation, topic, partition, "offset", time, stage, reason, COALESCE(sqlstate, ''),
	COALESCE(column_name, ''), message, key, value, COALESCE(headers::text, ''), created_at, published_at, redriven_at`

// moveStep moves the offsets of a batch and adds its counts, in one UPDATE.
func (st *ledgerStatements) moveStep(connector string, generation int32, b *connect.Batch, counts []connect.Counts) step {
	n := len(b.Parts)
	var p params
	p.text(connector)
	p.add(oidInt4, appendInt32s(nil, generation))
	p.strings(n, func(i int) string { return b.Parts[i].Topic })
	p.int4s(n, func(i int) int32 { return b.Parts[i].Partition })
	p.int8s(n, func(i int) int64 { return b.Parts[i].Next })
	p.int8s(n, func(i int) int64 { return counts[i].Written })
	p.int8s(n, func(i int) int64 { return counts[i].Inserted })
	p.int8s(n, func(i int) int64 { return counts[i].Unchanged })
	p.int8s(n, func(i int) int64 { return counts[i].Merged })
	p.int8s(n, func(i int) int64 { return counts[i].Stale })
	p.int8s(n, func(i int) int64 { return counts[i].DeadLettered })
	p.int8s(n, func(i int) int64 { return counts[i].Filtered })
	p.int8s(n, func(i int) int64 { return counts[i].Absent })
	p.int8s(n, func(i int) int64 { return counts[i].Expired })
	offsets, times := array(oidInt8, n, n*12), array(oidTimestamptz, n, n*12)
	for i := range b.Parts {
		if records := b.Parts[i].Records; len(records) > 0 {
			last := &records[len(records)-1]
			offsets = appendInt8Elem(offsets, last.Offset)
			times = appendTimeElem(times, last.Timestamp)
		} else {
			offsets, times = appendNullElem(offsets), appendNullElem(times)
		}
	}
	p.add(oidInt8Array, offsets)
	p.add(oidTimestamptzArray, times)
	p.int8(int64(n))
	return step{doing: "moving the ledger", sql: st.moveLedger, params: p, own: true}
}
