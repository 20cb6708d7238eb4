package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// memory is one part: the peak RSS of the connector on a backlog, and while the
// database stands still.
func (b *bench) memory(ctx context.Context) error {
	for _, topics := range []int{1, 30} {
		if err := b.backlog(ctx, topics); err != nil {
			return fmt.Errorf("%d topics: %w", topics, err)
		}
	}
	return nil
}

func (b *bench) backlog(ctx context.Context, topics int) error {
	const partitions = 12
	broker, brokers, err := b.startBroker()
	if err != nil {
		return err
	}
	defer broker.kill()
	records := b.backlogRecords / topics * topics
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprintf("crypto-prices-venue%02d", i+1)
	}
	if err := createTopics(ctx, brokers, partitions, names...); err != nil {
		return err
	}
	client, err := newProducer(brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	for i, name := range names {
		if err := fill(ctx, client, name, partitions, b.newFeed(fmt.Sprintf("venue%02d", i+1)), records/topics, nil); err != nil {
			return fmt.Errorf("producing the records: %w", err)
		}
	}
	client.Close()

	schema, err := b.newSchema(ctx)
	if err != nil {
		return err
	}
	c, err := b.startConnector(connectorRun{brokers, schema, "crypto-prices-venue.+", "upsert", nil})
	if err != nil {
		return err
	}
	defer c.kill()
	m, err := startMeter(map[string]cpuOf{"database": b.databaseCPU, "broker": broker.cpu, "connector": c.cpu})
	if err != nil {
		return err
	}
	read := func(what string, floor, goal *float64) error {
		r, err := m.read()
		if err != nil {
			return err
		}
		peak, err := peakRSS(c.pid())
		if err != nil {
			return err
		}
		b.report.add(figure{
			Part: "memory", Name: fmt.Sprintf("%d partitions: peak RSS %s", topics*partitions, what), Unit: "MB",
			AtMost: true, Floor: floor, Goal: goal,
		}, megabytes(peak), r)
		return nil
	}
	first, _, err := b.waitStored(ctx, c, schema, int64(records/2))
	if err != nil {
		return err
	}
	if err := read("after half of the backlog", nil, nil); err != nil {
		return err
	}
	if err := b.standStill(ctx, c); err != nil {
		return err
	}
	if err := read(fmt.Sprintf("after the database stood still for %v", b.stall), nil, nil); err != nil {
		return err
	}
	_, last, err := b.waitStored(ctx, c, schema, int64(records))
	if err != nil {
		return err
	}
	if err := read("in all", value(200), value(150)); err != nil {
		return err
	}
	took := last.at.Sub(first.at) - b.stall
	b.report.note("memory, %d partitions: %d records stored in %.0f s beside the pause of %v, nothing lost", topics*partitions, records, took.Seconds(), b.stall)
	if err := c.stop(); err != nil {
		return err
	}
	if err := b.checkStored(ctx, schema, pricesTable, int64(records), int64(records), int64(records)); err != nil {
		return err
	}
	return b.drop(ctx, schema)
}

// standStill stops all processes of the database for a while, and checks that
// the connector outlives it.
func (b *bench) standStill(ctx context.Context, c *child) error {
	if err := freezeTree(b.server); err != nil {
		return errors.Join(err, thawTree(b.server))
	}
	var err error
	select {
	case <-time.After(b.stall):
	case <-c.done:
		err = c.failed()
	case <-ctx.Done():
		err = ctx.Err()
	}
	return errors.Join(err, thawTree(b.server))
}
