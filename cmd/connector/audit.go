package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/qicore/tickconnect/connect"
)

// auditRow is where one partition of the live stream stands in the database.
type auditRow struct {
	at      connect.TopicPartition
	topicID string
	start   int64
	next    int64
	counts  connect.Counts
}

// Verdicts of an audit, from good to bad.
const (
	verdictOK      = "ok"
	verdictGone    = "ok, no longer read"
	verdictBehind  = "BEHIND"
	verdictExpired = "EXPIRED"
	verdictAhead   = "AHEAD OF THE LOG"
	verdictRemade  = "TOPIC MADE AGAIN"
	verdictUnsound = "DOES NOT ADD UP"
	verdictMissing = "NO LEDGER ROW"
)

// auditLine is the account of one partition. End is the last stable offset when
// the audit began: what the ledger must reach. Open counts offsets after it that
// belong to transactions which producers have not ended.
type auditLine struct {
	Topic        string `json:"topic"`
	Partition    int32  `json:"partition"`
	Start        int64  `json:"start"`
	Next         int64  `json:"next"`
	End          int64  `json:"end"`
	Lag          int64  `json:"lag"`
	Open         int64  `json:"open"`
	Written      int64  `json:"written"`
	Inserted     int64  `json:"inserted"`
	Unchanged    int64  `json:"unchanged"`
	Merged       int64  `json:"merged"`
	Stale        int64  `json:"stale"`
	DeadLettered int64  `json:"dead_lettered"`
	Filtered     int64  `json:"filtered"`
	Absent       int64  `json:"absent"`
	Expired      int64  `json:"expired"`
	Verdict      string `json:"verdict"`
}

func (l *auditLine) good() bool { return l.Verdict == verdictOK || l.Verdict == verdictGone }

// auditConnector is the account of one connector.
type auditConnector struct {
	Name   string      `json:"name"`
	Good   bool        `json:"good"`
	Lines  []auditLine `json:"partitions"`
	Reason string      `json:"reason,omitempty"`
}

// auditLines compares the ledger with the ends of the log as they were when the
// audit began: one line for each partition that either of them knows, in order.
func auditLines(ends map[connect.TopicPartition]connect.Bounds, rows []auditRow) []auditLine {
	lines := make([]auditLine, 0, max(len(ends), len(rows)))
	seen := make(map[connect.TopicPartition]bool, len(rows))
	for _, r := range rows {
		seen[r.at] = true
		end, exists := ends[r.at]
		lines = append(lines, auditPartition(r, end, exists))
	}
	for tp, end := range ends {
		if !seen[tp] {
			lines = append(lines, auditLine{
				Topic: tp.Topic, Partition: tp.Partition, Start: end.Start, Next: end.Start,
				End: end.Stable, Lag: end.Stable - end.Start, Open: end.End - end.Stable, Verdict: verdictMissing,
			})
		}
	}
	slices.SortFunc(lines, func(a, b auditLine) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
	return lines
}

func auditPartition(r auditRow, end connect.Bounds, exists bool) auditLine {
	c := r.counts
	l := auditLine{
		Topic: r.at.Topic, Partition: r.at.Partition, Start: r.start, Next: r.next,
		Written: c.Written, Inserted: c.Inserted, Unchanged: c.Unchanged, Merged: c.Merged, Stale: c.Stale,
		DeadLettered: c.DeadLettered, Filtered: c.Filtered, Absent: c.Absent, Expired: c.Expired,
	}
	if exists {
		l.End, l.Lag, l.Open = end.Stable, max(0, end.Stable-r.next), end.End-end.Stable
	} else {
		l.End = r.next
	}
	id := end.TopicID.String()
	switch {
	case c.Offsets() != r.next-r.start || negative(c):
		l.Verdict = verdictUnsound
	case c.Expired > 0:
		l.Verdict = verdictExpired
	case !exists:
		l.Verdict = verdictGone
	case id != "" && r.topicID != "" && id != r.topicID:
		l.Verdict = verdictRemade
	case r.next > end.End:
		l.Verdict = verdictAhead
	case r.next < end.Stable:
		l.Verdict = verdictBehind
	default:
		l.Verdict = verdictOK
	}
	return l
}

// negative says whether a count is below zero: a sum may come out right for all
// that.
func negative(c connect.Counts) bool {
	return min(c.Written, c.Unchanged, c.Merged, c.Stale, c.DeadLettered, c.Filtered, c.Absent, c.Expired) < 0
}

// waiting says whether time may yet mend what is wrong.
func waiting(lines []auditLine) bool {
	return slices.ContainsFunc(lines, func(l auditLine) bool { return l.Verdict == verdictBehind || l.Verdict == verdictMissing })
}

// conclude says whether every line is good, and else why not.
func (c *auditConnector) conclude() {
	counts := map[string]int{}
	var order []string
	var lag int64
	for i := range c.Lines {
		if l := &c.Lines[i]; !l.good() {
			if counts[l.Verdict] == 0 {
				order = append(order, l.Verdict)
			}
			counts[l.Verdict]++
			lag += l.Lag
		}
	}
	if c.Reason == "" && len(order) > 0 {
		var parts []string
		for _, verdict := range order {
			parts = append(parts, fmt.Sprintf("%s: %s", count(counts[verdict], "partition"), strings.ToLower(verdict)))
		}
		c.Reason = strings.Join(parts, "; ")
		if lag > 0 {
			c.Reason += fmt.Sprintf("; %s not yet stored", count(int(lag), "offset"))
		}
	}
	c.Good = c.Reason == ""
}
