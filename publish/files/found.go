package files

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// originHeader names the header of each record: run/offset.
const originHeader = "tickconnect-origin"

func originOf(run string, offset int64) []publish.Header {
	return []publish.Header{{Key: originHeader, Value: strconv.AppendInt(append(make([]byte, 0, len(run)+14), run+"/"...), offset, 10)}}
}

const (
	// clockSlack is how far the clocks of this machine and the brokers may differ.
	clockSlack = 10 * time.Minute
	// onTheWay is how long a killed run's last requests may take to the log's end.
	onTheWay = time.Second
	// idleMax is how long the end of a log is waited for that no record leads to.
	idleMax = 10 * time.Second
)

// partition is a part of a topic.
type partition struct {
	topic string
	id    int32
}

// found reads what the topics of the kind got since the place was saved, and
// gives the offsets of the lines from the place on that are there. unsure says
// why there may be more.
func found(ctx context.Context, opts []kgo.Opt, kind marketdata.Kind, p *place, waiting func(error)) (lines map[int64]bool, unsure error, err error) {
	client, err := kgo.NewClient(append(opts, kgo.KeepControlRecords())...)
	if err != nil {
		return nil, nil, err
	}
	defer client.Close()
	admin := kadm.NewClient(client)
	timer := time.NewTimer(onTheWay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, nil, context.Cause(ctx)
	case <-timer.C:
	}
	from, ends, unsure, err := searched(ctx, admin, kind, p)
	lines = map[int64]bool{}
	if err != nil || len(ends) == 0 {
		return lines, unsure, err
	}
	client.AddConsumePartitions(from)
	for idle := 0; len(ends) > 0; {
		poll, cancel := context.WithTimeout(ctx, idleMax)
		fetches := client.PollFetches(poll)
		cancel()
		if ctx.Err() != nil {
			return nil, nil, context.Cause(ctx)
		}
		for _, e := range fetches.Errors() {
			if errors.Is(e.Err, context.DeadlineExceeded) {
				if err := ping(ctx, client); err != nil {
					waiting(err)
					continue
				}
				if idle++; idle < 2 {
					continue
				}
				return lines, errors.Join(unsure, fmt.Errorf("%d partitions gave no record for %s", len(ends), 2*idleMax)), nil
			}
			if !forbidden(e.Err) {
				return nil, nil, fmt.Errorf("reading %s: %w", e.Topic, e.Err)
			}
			unsure = errors.Join(unsure, fmt.Errorf("topic %s may not be read; allow READ on it", e.Topic))
			delete(ends, partition{e.Topic, e.Partition})
			client.RemoveConsumePartitions(map[string][]int32{e.Topic: {e.Partition}})
		}
		fetches.EachRecord(func(r *kgo.Record) {
			idle = 0
			if offset, ok := p.isOrigin(r); ok {
				lines[offset] = true
			}
			at := partition{r.Topic, r.Partition}
			if end, open := ends[at]; open && r.Offset >= end-1 {
				delete(ends, at)
			}
		})
	}
	return lines, unsure, nil
}

func ping(ctx context.Context, client *kgo.Client) error {
	ctx, cancel := context.WithTimeout(ctx, idleMax)
	defer cancel()
	return client.Ping(ctx)
}

// forbidden says whether the brokers refuse the user, which no wait mends.
func forbidden(err error) bool {
	return errors.Is(err, kerr.TopicAuthorizationFailed) || errors.Is(err, kerr.ClusterAuthorizationFailed) ||
		errors.Is(err, kerr.SaslAuthenticationFailed) || errors.Is(err, kerr.UnsupportedSaslMechanism)
}

// isOrigin says whether a record is a line of the place's run, from its offset
// on.
func (p *place) isOrigin(r *kgo.Record) (int64, bool) {
	for _, h := range r.Headers {
		if h.Key != originHeader {
			continue
		}
		run, text, _ := strings.Cut(string(h.Value), "/")
		offset, err := strconv.ParseInt(text, 10, 64)
		return offset, err == nil && run == p.Run && offset >= p.Offset
	}
	return 0, false
}

// searched says from where to where the partitions of the kind are to be read.
func searched(ctx context.Context, admin *kadm.Client, kind marketdata.Kind, p *place) (
	from map[string]map[int32]kgo.Offset, ends map[partition]int64, unsure, err error,
) {
	all, err := admin.ListTopics(ctx)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("listing topics: %w", err)
	}
	var names []string
	for _, name := range all.Names() {
		if k, _, ok := marketdata.KindOfTopic(name); ok && k == kind {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil, nil, nil, nil
	}
	starts, errStarts := admin.ListStartOffsets(ctx, names...)
	stops, errEnds := admin.ListEndOffsets(ctx, names...)
	times, errTimes := admin.ListOffsetsAfterMilli(ctx, p.Since.Add(-clockSlack).UnixMilli(), names...)
	if err := errors.Join(errStarts, errEnds, errTimes); err != nil {
		return nil, nil, nil, fmt.Errorf("reading the ends of topics: %w", err)
	}
	from, ends = map[string]map[int32]kgo.Offset{}, map[partition]int64{}
	stops.Each(func(end kadm.ListedOffset) {
		if err != nil || end.Err != nil {
			if end.Err != nil && forbidden(end.Err) {
				unsure = errors.Join(unsure, fmt.Errorf("topic %s may not be read; allow READ on it", end.Topic))
			} else if end.Err != nil {
				err = fmt.Errorf("reading the end of %s: %w", end.Topic, end.Err)
			}
			return
		}
		begin := int64(0)
		if start, ok := starts.Lookup(end.Topic, end.Partition); ok && start.Err == nil {
			begin = start.Offset
		}
		at := begin
		if next, known := p.Next[end.Topic][end.Partition]; known && next <= end.Offset {
			if at = next; next < begin {
				unsure = errors.Join(unsure, fmt.Errorf("records of %s have expired meanwhile", end.Topic))
				at = begin
			}
		} else if t, ok := times.Lookup(end.Topic, end.Partition); ok && t.Err == nil && t.Offset >= 0 && !known {
			at = max(begin, t.Offset)
		}
		if at >= end.Offset {
			return
		}
		if from[end.Topic] == nil {
			from[end.Topic] = map[int32]kgo.Offset{}
		}
		from[end.Topic][end.Partition] = kgo.NewOffset().At(at)
		ends[partition{end.Topic, end.Partition}] = end.Offset
	})
	return from, ends, unsure, err
}
