package redpandasource

import (
	"fmt"
	"sync"
)

// Groups are the consumer groups of a process's connectors, so that no two join the same
// one: the brokers would take them for one member and let in one of them. Names of groups
// are made of a connector's and a topic's, and those may meet: connector m on topic eu-t and
// connector m-eu on topic t. The zero value is ready.
type Groups struct {
	mu    sync.Mutex
	taken map[string]groupUse
}

type groupUse struct{ connector, topic string }

// groupTakenError says that a topic is not read since its group is another's. It needs a
// person.
type groupTakenError struct {
	group string
	by    groupUse
}

func (e *groupTakenError) Error() string {
	return fmt.Sprintf("its consumer group %s is that of connector %s for topic %s; give one of the two connectors a group.prefix of its own",
		e.group, e.by.connector, e.by.topic)
}

// take gives the group to a connector's topic, where no other has it.
func (g *Groups) take(group string, use groupUse) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if by, taken := g.taken[group]; taken && by != use {
		return &groupTakenError{group, by}
	}
	if g.taken == nil {
		g.taken = map[string]groupUse{}
	}
	g.taken[group] = use
	return nil
}

// release gives a group back.
func (g *Groups) release(group string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.taken, group)
}
