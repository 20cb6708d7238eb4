package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/connect"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	timescalesink "github.com/qicore/tickconnect/connectors/timescale-sink"
	"github.com/qicore/tickconnect/internal/herder"
	"github.com/qicore/tickconnect/internal/rest"
	"github.com/qicore/tickconnect/internal/worker"
)

// connectAPI is what the REST API is over.
type connectAPI struct {
	*herder.Herder
	p *process
	// databases bounds the requests that ask one: each opens a connection.
	databases chan struct{}
}

func newConnectAPI(p *process) connectAPI {
	return connectAPI{p.herder, p, make(chan struct{}, 4)}
}

// database waits until a request may ask one. Call done after it.
func (a connectAPI) database(ctx context.Context) (done func(), err error) {
	select {
	case a.databases <- struct{}{}:
		return func() { <-a.databases }, nil
	case <-ctx.Done():
		return nil, connect.Retriable(errors.New("other requests ask the database"))
	}
}

var _ rest.Connect = connectAPI{}

// Plugins implements rest.Connect.
func (a connectAPI) Plugins() []rest.Plugin {
	var all []rest.Plugin
	for _, p := range plugins {
		all = append(all, restPlugin(p))
	}
	return all
}

// Plugin implements rest.Connect.
func (a connectAPI) Plugin(class string) (rest.Plugin, bool) {
	p, err := findPlugin(class)
	return restPlugin(p), err == nil
}

func restPlugin(p connect.Plugin) rest.Plugin {
	plugin := rest.Plugin{Class: p.Class, Version: thisBuild().Version}
	if p.Config == nil {
		return plugin
	}
	plugin.Keys = []config.Key{
		{Name: "name", Type: "string", Required: true, Importance: "high", Documentation: "Name of the connector."},
		{Name: "connector.class", Type: "string", Required: true, Importance: "high", Documentation: "Kind of the connector."},
	}
	settings, source := worker.DefaultSettings(), redpandasource.DefaultConfig()
	for _, target := range []any{p.Config(), &source, &settings} {
		for _, key := range config.Describe(target) {
			if !slices.ContainsFunc(plugin.Keys, func(k config.Key) bool { return k.Name == key.Name }) {
				plugin.Keys = append(plugin.Keys, key)
			}
		}
	}
	return plugin
}

// Validate implements rest.Connect.
func (a connectAPI) Validate(props map[string]string) rest.Checked {
	c := a.p.loaded.read(config.Connector{Name: props["name"], Props: props})
	redactor := a.p.loaded.redactor.With(c.decoded.Secrets...)
	var messages []string
	for _, text := range lines(c.err) {
		messages = append(messages, redactor.Redact(text))
	}
	return rest.NewChecked(messages)
}

// connectorOf gives a connector as it is configured.
func (a connectAPI) connectorOf(name string) (*connectorConfig, error) {
	props, err := a.Config(name)
	if err != nil {
		return nil, err
	}
	c := a.p.loaded.read(config.Connector{Name: name, Props: props})
	return c, a.redacted(c, c.err)
}

// Offsets implements rest.Connect.
func (a connectAPI) Offsets(ctx context.Context, name string) ([]rest.Offset, error) {
	c, err := a.connectorOf(name)
	if err != nil {
		return nil, err
	}
	done, err := a.database(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var all []rest.Offset
	err = withAdmin(c, func(admin *timescalesink.Admin) error {
		ledger, err := liveLedger(ctx, admin)
		if err != nil {
			return err
		}
		for _, tp := range slices.SortedFunc(maps.Keys(ledger), connect.TopicPartition.Compare) {
			next := ledger[tp].NextOffset
			all = append(all, rest.Offset{Topic: tp.Topic, Partition: tp.Partition, Next: &next})
		}
		return nil
	})
	return all, a.redacted(c, err)
}

// AlterOffsets implements rest.Connect. A connector that has never run can be told where
// to begin; back to where it would begin, it has nowhere to go.
func (a connectAPI) AlterOffsets(ctx context.Context, name string, to []rest.Offset, dryRun bool) (any, error) {
	c, err := a.connectorOf(name)
	if err != nil {
		return nil, err
	}
	done, err := a.database(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	answer := map[string]any{}
	err = withOffsets(ctx, a.p.loaded, c, c.source, func(o *offsets) error {
		if to == nil && len(o.ledger) == 0 {
			return nil
		}
		plans, err := o.planAlter(ctx, c.target, to)
		if err != nil {
			return err
		}
		lines := map[string][]resetLine{}
		reset := timescalesink.Reset{Next: map[connect.TopicPartition]int64{}, MadeAgain: map[string]connect.TopicID{}, Note: "offsets altered over REST"}
		for _, plan := range plans {
			lines[plan.topic] = plan.lines
			one := plan.reset(resetTarget{})
			maps.Copy(reset.Next, one.Next)
			maps.Copy(reset.MadeAgain, one.MadeAgain)
		}
		answer["topics"] = lines
		if dryRun {
			return nil
		}
		generation, err := o.admin.Reset(ctx, reset)
		answer["generation"] = generation
		return err
	})
	return answer, a.redacted(c, err)
}

// planAlter says what would become of partitions; of all that exist where none is
// named.
func (o *offsets) planAlter(ctx context.Context, target connect.Config, to []rest.Offset) ([]*resetPlan, error) {
	byTopic := map[string]map[int32]*int64{}
	for _, e := range to {
		if byTopic[e.Topic] == nil {
			byTopic[e.Topic] = map[int32]*int64{}
		}
		byTopic[e.Topic][e.Partition] = e.Next
	}
	if to == nil {
		for _, topic := range o.topics() {
			byTopic[topic] = nil
		}
	}
	var plans []*resetPlan
	for _, topic := range slices.Sorted(maps.Keys(byTopic)) {
		plan, err := o.planTopic(ctx, topic, byTopic[topic])
		if err == nil {
			err = plan.checkTape(target)
		}
		if err != nil {
			return nil, &badRequest{err}
		}
		plans = append(plans, plan)
	}
	if len(plans) == 0 {
		return nil, &badRequest{fmt.Errorf("none of the topics that %s reads exists", o.name)}
	}
	return plans, nil
}

func (o *offsets) planTopic(ctx context.Context, topic string, next map[int32]*int64) (*resetPlan, error) {
	initial := resetTarget{initial: "initial"} // where offsets.initial says
	plan, err := o.planReset(ctx, topic, slices.Sorted(maps.Keys(next)), initial)
	if err != nil {
		return nil, err
	}
	for i := range plan.lines {
		line := &plan.lines[i]
		if n := next[line.Partition]; n != nil {
			b := o.bounds[connect.TopicPartition{Topic: topic, Partition: line.Partition}]
			if *n < b.Start || *n > b.Stable {
				return nil, fmt.Errorf("kafka_offset: %d is outside the log of %s/%d, which holds %d..%d", *n, topic, line.Partition, b.Start, b.Stable)
			}
			line.To = *n
			line.count(b, plan.madeAgain)
		}
	}
	return plan, nil
}

// badRequest is an error of what was asked for.
type badRequest struct{ error }

func (a connectAPI) redacted(c *connectorConfig, err error) error {
	if err == nil {
		return nil
	}
	text := a.p.loaded.redactor.With(c.decoded.Secrets...).Redact(err.Error())
	var bad *badRequest
	if errors.As(err, &bad) {
		return rest.BadRequest(text)
	}
	if connect.IsRetriable(err) {
		return connect.Retriable(errors.New(text))
	}
	return errors.New(text)
}
