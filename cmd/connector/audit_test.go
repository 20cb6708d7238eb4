package main

import (
	"testing"

	"github.com/qicore/tickconnect/connect"
)

func TestAccount(t *testing.T) {
	t.Parallel()
	id := func(b byte) connect.TopicID { return connect.TopicID{b} }
	tp := connect.TopicPartition{Topic: "t", Partition: 3}
	ten := connect.Counts{Written: 4, Inserted: 3, Unchanged: 1, Merged: 1, Stale: 1, DeadLettered: 1, Filtered: 1, Absent: 1}
	tests := []struct {
		name    string
		end     *connect.Bounds
		row     *auditRow
		verdict string
		lag     int64
		good    bool
	}{
		{"reached", &connect.Bounds{Stable: 15, End: 15}, &auditRow{start: 5, next: 15, counts: ten}, verdictOK, 0, true},
		{"an open transaction is not waited for", &connect.Bounds{Stable: 15, End: 20}, &auditRow{start: 5, next: 15, counts: ten}, verdictOK, 0, true},
		{"went on meanwhile", &connect.Bounds{Stable: 12, End: 15}, &auditRow{start: 5, next: 15, counts: ten}, verdictOK, 0, true},
		{"behind", &connect.Bounds{Stable: 16, End: 16}, &auditRow{start: 5, next: 15, counts: ten}, verdictBehind, 1, false},
		{"expired", &connect.Bounds{Stable: 16, End: 16}, &auditRow{start: 5, next: 16, counts: ten.Plus(connect.Counts{Expired: 1})}, verdictExpired, 0, false},
		{"an offset without a fate", &connect.Bounds{Stable: 16, End: 16}, &auditRow{start: 5, next: 16, counts: ten}, verdictUnsound, 0, false},
		{"inserted is no fate", &connect.Bounds{Stable: 6, End: 6}, &auditRow{start: 5, next: 6, counts: connect.Counts{Inserted: 1}}, verdictUnsound, 0, false},
		{"counts that cancel out", &connect.Bounds{Stable: 15, End: 15}, &auditRow{start: 5, next: 15, counts: ten.Plus(connect.Counts{Stale: -2, Merged: 2})}, verdictUnsound, 0, false},
		{"ahead", &connect.Bounds{Stable: 14, End: 14}, &auditRow{start: 5, next: 15, counts: ten}, verdictAhead, 0, false},
		{"made again", &connect.Bounds{TopicID: id(1), Stable: 15, End: 15}, &auditRow{topicID: id(2).String(), start: 5, next: 15, counts: ten}, verdictRemade, 0, false},
		{"same id", &connect.Bounds{TopicID: id(1), Stable: 15, End: 15}, &auditRow{topicID: id(1).String(), start: 5, next: 15, counts: ten}, verdictOK, 0, true},
		{"id learnt later", &connect.Bounds{TopicID: id(1), Stable: 15, End: 15}, &auditRow{start: 5, next: 15, counts: ten}, verdictOK, 0, true},
		{"no ledger row", &connect.Bounds{Start: 2, Stable: 15, End: 15}, nil, verdictMissing, 13, false},
		{"no ledger row of an empty partition", &connect.Bounds{}, nil, verdictMissing, 0, false},
		{"topic deleted", nil, &auditRow{start: 5, next: 15, counts: ten}, verdictGone, 0, true},
		{"topic deleted, unsound", nil, &auditRow{start: 5, next: 16, counts: ten}, verdictUnsound, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ends := map[connect.TopicPartition]connect.Bounds{}
			if tt.end != nil {
				ends[tp] = *tt.end
			}
			var rows []auditRow
			if tt.row != nil {
				row := *tt.row
				row.at = tp
				rows = append(rows, row)
			}
			lines := auditLines(ends, rows)
			if len(lines) != 1 {
				t.Fatalf("%d lines, want 1", len(lines))
			}
			l := lines[0]
			if l.Verdict != tt.verdict || l.Lag != tt.lag || l.good() != tt.good || l.Topic != "t" || l.Partition != 3 {
				t.Errorf("got %+v (good: %v), want %s with lag %d", l, l.good(), tt.verdict, tt.lag)
			}
			c := auditConnector{Lines: lines}
			if c.conclude(); c.Good != tt.good || (c.Reason == "") != tt.good {
				t.Errorf("concluded %v: %s", c.Good, c.Reason)
			}
		})
	}
}

func TestAccountOrder(t *testing.T) {
	t.Parallel()
	at := func(topic string, p int32) connect.TopicPartition {
		return connect.TopicPartition{Topic: topic, Partition: p}
	}
	lines := auditLines(map[connect.TopicPartition]connect.Bounds{at("b", 0): {}, at("a", 10): {Stable: 3, End: 3}, at("a", 2): {}},
		[]auditRow{{at: at("b", 0)}, {at: at("a", 2)}})
	var got []connect.TopicPartition
	for _, l := range lines {
		got = append(got, at(l.Topic, l.Partition))
	}
	if len(got) != 3 || got[0] != at("a", 2) || got[1] != at("a", 10) || got[2] != at("b", 0) {
		t.Errorf("the order is %v", got)
	}
	c := auditConnector{Lines: lines}
	c.conclude()
	if want := "1 partition: no ledger row; 3 offsets not yet stored"; c.Reason != want {
		t.Errorf("the reason is %q, want %q", c.Reason, want)
	}
}
