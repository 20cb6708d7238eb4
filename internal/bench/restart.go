package main

import (
	"context"
	"fmt"
	"time"
)

// restart is one part: the connector is killed and started again under the same
// id, while records keep coming.
func (b *bench) restart(ctx context.Context) error {
	const rate = 2000
	l, err := b.startLoad(ctx, rate)
	if err != nil {
		return err
	}
	defer l.close()
	for range b.kills {
		if !sleep(ctx, loadWarmup) {
			return ctx.Err()
		}
		if err := l.killOnce(ctx); err != nil {
			return err
		}
	}
	return l.finish(ctx)
}

func (l *load) killOnce(ctx context.Context) error {
	killed := time.Now()
	l.connector.kill()
	if err := l.startConnector(); err != nil {
		return err
	}
	// A COMMIT that the killed process had sent may still be under way: it is seen
	// here, long before the new process can have joined.
	if !sleep(ctx, 50*time.Millisecond) {
		return ctx.Err()
	}
	before, err := l.offsets(ctx)
	if err != nil {
		return err
	}
	m, err := startMeter(map[string]cpuOf{"database": l.databaseCPU, "broker": l.broker.cpu, "connector": l.connector.cpu})
	if err != nil {
		return err
	}
	var first time.Duration
	for {
		now, err := l.offsets(ctx)
		if err != nil {
			return err
		}
		moved := 0
		for tp, next := range now {
			if next > before[tp] {
				moved++
			}
		}
		if moved > 0 && first == 0 {
			first = time.Since(killed)
		}
		if moved == len(before) {
			break
		}
		if err := l.connector.failed(); err != nil {
			return err
		}
		if !sleep(ctx, 5*time.Millisecond) {
			return fmt.Errorf("%d of %d partitions go on: %w; the log ends with:\n%s", moved, len(before), ctx.Err(), logTail(l.connector.log))
		}
	}
	all := time.Since(killed)
	r, err := m.read()
	if err != nil {
		return err
	}
	add := func(name string, d time.Duration, goal *float64) {
		l.report.add(figure{Part: "restart", Name: name, Unit: "s", AtMost: true, Goal: goal}, d.Seconds(), r)
	}
	add("kill -9 and start: to the first new row", first, value(5))
	add(fmt.Sprintf("kill -9 and start: until all %d partitions go on", len(before)), all, nil)
	return nil
}

// offsets reads the ledger, by topic and partition.
func (l *load) offsets(ctx context.Context) (map[string]int64, error) {
	rows, err := l.conn.Query(ctx, fmt.Sprintf("SELECT topic || '/' || partition, next_offset FROM %s.connector_ledger", l.schema))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	out := map[string]int64{}
	for rows.Next() {
		var tp string
		var next int64
		if err := rows.Scan(&tp, &next); err != nil {
			return nil, err
		}
		out[tp] = next
	}
	return out, rows.Err()
}
