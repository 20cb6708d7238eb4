package worker

import (
	"strings"
	"testing"
)

// TestProblem: what does not work is said, also where the breaker is not open:
// it opens half by time alone, and openings go round it.
func TestProblem(t *testing.T) {
	t.Parallel()
	task := func(state, trace string, attempts int) TaskStatus {
		return TaskStatus{ID: 1, State: state, Trace: trace, Partitions: []PartitionStatus{{Topic: "t", Next: -1, Error: "no connection", Attempts: attempts}}}
	}
	for name, one := range map[string]struct {
		status Status
		want   string
	}{
		"all is well":                  {Status{State: StateRunning, Breaker: "closed", Tasks: []TaskStatus{task(StateRunning, "", 0)}}, ""},
		"a moment's trouble":           {Status{State: StateRunning, Breaker: "closed", Tasks: []TaskStatus{task(StateRunning, "deadlock", 1)}}, ""},
		"the breaker is open":          {Status{State: StateRunning, Breaker: "open"}, "the target is away"},
		"half open, and still trouble": {Status{State: StateRunning, Breaker: "half-open", Tasks: []TaskStatus{task(StateRunning, "no route\nmore", 0)}}, "the target is away: no route"},
		"half open, and no trouble":    {Status{State: StateRunning, Breaker: "half-open", Tasks: []TaskStatus{task(StateRunning, "", 0)}}, ""},
		"openings fail again and again": {
			Status{State: StateRunning, Breaker: "closed", Tasks: []TaskStatus{task(StateRunning, "no connection", 3)}}, "the target is away: no connection",
		},
		"a task failed":        {Status{State: StateRunning, Breaker: "closed", Tasks: []TaskStatus{task(StateFailed, "denied", 0)}}, "task 1 FAILED: denied"},
		"the connector failed": {Status{State: StateFailed, Trace: "gone\nmore", Breaker: "closed"}, "FAILED: gone"},
	} {
		if got := one.status.Problem(); got != one.want || strings.Contains(got, "\n") {
			t.Errorf("%s: %q, want %q", name, got, one.want)
		}
	}
}
