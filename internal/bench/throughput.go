package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

const (
	throughputTopic      = "crypto-prices-binance"
	throughputPartitions = 12
	templateSchema       = "bench_template"
)

// throughput is one part: how fast records move, against what the database and
// goka alone can do.
type throughput struct {
	*bench
	brokers string
	broker  *child
	all     lines // every record
	half    lines // every second one, as older rows of another origin
}

func (b *bench) throughput(ctx context.Context) error {
	broker, brokers, err := b.startBroker()
	if err != nil {
		return err
	}
	defer broker.kill()
	t := &throughput{bench: b, brokers: brokers, broker: broker}
	if err := t.makeTemplate(ctx); err != nil {
		return fmt.Errorf("making the template of the tables: %w", err)
	}
	if err := t.load(ctx); err != nil {
		return fmt.Errorf("producing the records: %w", err)
	}
	for round := range b.rounds {
		if err := t.round(ctx, round); err != nil {
			return fmt.Errorf("round %d: %w", round+1, err)
		}
	}
	return nil
}

// makeTemplate has the connector make its table, for the baselines to copy, and
// warms the programs up.
func (t *throughput) makeTemplate(ctx context.Context) error {
	const topic, n = "crypto-prices-template", 1000
	if err := createTopics(ctx, t.brokers, 1, topic); err != nil {
		return err
	}
	client, err := newProducer(t.brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	if err := fill(ctx, client, topic, 1, t.newFeed("template"), n, nil); err != nil {
		return err
	}
	if _, err := t.conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+templateSchema+" CASCADE; CREATE SCHEMA "+templateSchema); err != nil {
		return err
	}
	c, err := t.startConnector(connectorRun{t.brokers, templateSchema, topic, "upsert", nil})
	if err != nil {
		return err
	}
	defer c.kill()
	if _, _, err := t.waitStored(ctx, c, templateSchema, n); err != nil {
		return err
	}
	return c.stop()
}

// newFeed makes a feed of yesterday's records, 12,500 for each second of theirs.
func (b *bench) newFeed(exchange string) *feed {
	return newFeed(b.seed, exchange, time.Now().UTC().Truncate(24*time.Hour).Add(-24*time.Hour), 80*time.Microsecond)
}

func (t *throughput) load(ctx context.Context) error {
	if err := createTopics(ctx, t.brokers, throughputPartitions, throughputTopic); err != nil {
		return err
	}
	client, err := newProducer(t.brokers)
	if err != nil {
		return err
	}
	defer client.Close()
	f := t.newFeed("binance")
	n := 0
	now := time.Now()
	return fill(ctx, client, throughputTopic, throughputPartitions, f, t.records, func(partition int32, offset int64) {
		writer := int(partition) % writers
		t.all.add(writer, func(b []byte) []byte { return f.appendLine(b, origin{1, partition, offset, now}) })
		if n++; n%2 == 0 {
			t.half.add(writer, func(b []byte) []byte { return f.appendLine(b, origin{9999, partition, offset, now.Add(-time.Hour)}) })
		}
	})
}

// round runs baselines and connector one after the other, in an order that
// turns each time, so that neither has the machine's good moments.
func (t *throughput) round(ctx context.Context, round int) error {
	rates := map[string]float64{}
	readings := map[string]reading{}
	runs := []struct {
		name string
		run  func(context.Context) (float64, reading, error)
	}{
		{"direct COPY", func(ctx context.Context) (float64, reading, error) { return t.baseline(ctx, true, false, t.copyDirect) }},
		{"upsert, fresh rows", func(ctx context.Context) (float64, reading, error) { return t.ours(ctx, "upsert", false) }},
		{"temp-table COPY + merge", func(ctx context.Context) (float64, reading, error) { return t.baseline(ctx, true, true, t.copyMerge) }},
		{"upsert, half of the keys there", func(ctx context.Context) (float64, reading, error) { return t.ours(ctx, "upsert", true) }},
		{"direct COPY without an index", func(ctx context.Context) (float64, reading, error) {
			return t.baseline(ctx, false, false, t.copyDirect)
		}},
		{"tape", func(ctx context.Context) (float64, reading, error) { return t.ours(ctx, "tape", false) }},
		{"goka with a null sink", t.gokaNull},
	}
	for i := range runs {
		r := runs[i]
		if pair := i ^ 1; round%2 == 1 && pair < len(runs) {
			r = runs[pair]
		}
		rate, m, err := r.run(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		rates[r.name], readings[r.name] = rate, m
		t.report.add(figure{Part: "throughput", Name: r.name, Unit: "k records/s"}, rate/1000, m)
	}
	for _, p := range []struct {
		ours, baseline string
		floor, goal    *float64
	}{
		{"upsert, fresh rows", "direct COPY", value(60), value(85)},
		{"upsert, half of the keys there", "temp-table COPY + merge", nil, value(60)},
		{"tape", "direct COPY without an index", nil, value(50)},
		{"upsert, fresh rows", "goka with a null sink", nil, nil},
	} {
		m := readings[p.ours]
		m.foreign = max(m.foreign, readings[p.baseline].foreign)
		t.report.add(figure{Part: "throughput", Name: p.ours + " / " + p.baseline, Unit: "%", Floor: p.floor, Goal: p.goal},
			100*rates[p.ours]/rates[p.baseline], m)
	}
	return nil
}

// baseline stores all lines with store in a table of its own, and says how many
// rows a second that were.
func (t *throughput) baseline(ctx context.Context, indexed, preloaded bool,
	store func(context.Context, string, *lines) (time.Duration, error),
) (float64, reading, error) {
	schema, err := t.newSchema(ctx)
	if err != nil {
		return 0, reading{}, err
	}
	if err := t.cloneTable(ctx, schema, indexed); err != nil {
		return 0, reading{}, err
	}
	if preloaded {
		if err := t.preload(ctx, schema); err != nil {
			return 0, reading{}, err
		}
	}
	m, err := startMeter(map[string]cpuOf{"database": t.databaseCPU, "broker": t.broker.cpu})
	if err != nil {
		return 0, reading{}, err
	}
	took, err := store(ctx, schema, &t.all)
	if err != nil {
		return 0, reading{}, err
	}
	r, err := m.read()
	if err != nil {
		return 0, r, err
	}
	var rows int
	if err := t.conn.QueryRow(ctx, "SELECT count(*) FROM "+schema+".crypto_prices").Scan(&rows); err != nil {
		return 0, r, err
	}
	if rows != t.records {
		return 0, r, fmt.Errorf("%d rows are in the table, want %d", rows, t.records)
	}
	return float64(t.records) / took.Seconds(), r, t.drop(ctx, schema)
}

func (t *throughput) preload(ctx context.Context, schema string) error {
	if _, err := t.copyDirect(ctx, schema, &t.half); err != nil {
		return err
	}
	return t.settle(ctx)
}

// ours runs the connector on the whole topic. The rate is that from its first
// commit to its last: joining the group is not in it, waiting for the log is.
func (t *throughput) ours(ctx context.Context, mode string, preloaded bool) (float64, reading, error) {
	schema, err := t.newSchema(ctx)
	if err != nil {
		return 0, reading{}, err
	}
	inserted := t.records
	if preloaded {
		inserted -= t.half.counts[0] + t.half.counts[1]
		if err := t.cloneTable(ctx, schema, true); err != nil {
			return 0, reading{}, err
		}
		if err := t.preload(ctx, schema); err != nil {
			return 0, reading{}, err
		}
	}
	began := time.Now()
	c, err := t.startConnector(connectorRun{t.brokers, schema, throughputTopic, mode, nil})
	if err != nil {
		return 0, reading{}, err
	}
	defer c.kill()
	m, err := startMeter(map[string]cpuOf{"database": t.databaseCPU, "broker": t.broker.cpu, "connector": c.cpu})
	if err != nil {
		return 0, reading{}, err
	}
	first, last, err := t.waitStored(ctx, c, schema, int64(t.records))
	if err != nil {
		return 0, reading{}, err
	}
	r, err := m.read()
	if err != nil {
		return 0, r, err
	}
	peak, err := peakRSS(c.pid())
	if err != nil {
		return 0, r, err
	}
	if err := c.stop(); err != nil {
		return 0, r, err
	}
	if err := t.checkStored(ctx, schema, pricesTable, int64(t.records), int64(inserted), int64(t.records)); err != nil {
		return 0, r, err
	}
	name := mode
	if preloaded {
		name += ", half there"
	}
	perRecord := func(group string) float64 { return float64(r.cpu[group].Microseconds()) / float64(t.records) }
	t.report.add(figure{Part: "throughput", Name: name + ": connector CPU for a record", Unit: "µs"}, perRecord("connector"), r)
	t.report.add(figure{Part: "throughput", Name: name + ": database CPU for a record", Unit: "µs"}, perRecord("database"), r)
	t.report.add(figure{Part: "throughput", Name: name + ": broker CPU for a record", Unit: "µs"}, perRecord("broker"), r)
	t.report.add(figure{Part: "throughput", Name: name + ": peak RSS", Unit: "MB", AtMost: true}, megabytes(peak), r)
	t.report.add(figure{Part: "throughput", Name: name + ": start to first commit", Unit: "ms", AtMost: true},
		float64(first.at.Sub(began).Milliseconds()), r)
	if last.at.Equal(first.at) {
		return 0, r, fmt.Errorf("all %d records were stored at once: take more of them", t.records)
	}
	return float64(last.stored-first.stored) / last.at.Sub(first.at).Seconds(), r, t.drop(ctx, schema)
}

// gokaNull runs a stock goka processor on the whole topic in a process of its
// own.
func (t *throughput) gokaNull(ctx context.Context) (float64, reading, error) {
	self, err := os.Executable()
	if err != nil {
		return 0, reading{}, err
	}
	t.groups++
	m, err := startMeter(map[string]cpuOf{"database": t.databaseCPU, "broker": t.broker.cpu})
	if err != nil {
		return 0, reading{}, err
	}
	c, err := t.start("goka", nil, self, "-goka-null", t.brokers, "-goka-topic", throughputTopic,
		"-goka-group", fmt.Sprintf("null-%d", t.groups), "-records", fmt.Sprint(t.records))
	if err != nil {
		return 0, reading{}, err
	}
	defer c.kill()
	stop := context.AfterFunc(ctx, c.kill)
	defer stop()
	var run nullRun
	if err := json.NewDecoder(c.output).Decode(&run); err != nil {
		return 0, reading{}, fmt.Errorf("%w; its log ends with: %s", err, logTail(c.log))
	}
	c.kill()
	r, err := m.read() // the process has ended, so its time is in ours
	if err != nil {
		return 0, r, err
	}
	t.report.add(figure{Part: "throughput", Name: "goka with a null sink: CPU for a record", Unit: "µs"}, run.CPU*1e6/float64(t.records), r)
	return float64(t.records) / run.Seconds, r, nil
}

func megabytes(bytes int64) float64 { return float64(bytes) / 1e6 }
