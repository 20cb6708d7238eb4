package testenv

import (
	"errors"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// FaultyBroker is an in-process broker of the test's own that does on demand what real
// ones do when it suits nobody.
type FaultyBroker struct{ cluster *kfake.Cluster }

// NewFaultyBroker starts a broker that is well as yet and ends with the test.
func NewFaultyBroker(t testing.TB) *FaultyBroker {
	t.Helper()
	c, err := kfake.NewCluster(kfake.NumBrokers(1))
	Need(t, err)
	t.Cleanup(c.Close)
	return &FaultyBroker{c}
}

// Brokers are its addresses.
func (b *FaultyBroker) Brokers() []string { return b.cluster.ListenAddrs() }

// Compact compacts the topics that are to be.
func (b *FaultyBroker) Compact() { b.cluster.Compact() }

// Delay has requests of a kind wait before they are looked at.
func (b *FaultyBroker) Delay(kind kmsg.Key, wait func() time.Duration) {
	b.cluster.ControlKey(int16(kind), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		if d := wait(); d > 0 {
			b.cluster.SleepControl(func() { time.Sleep(d) })
		}
		return nil, nil, false
	})
}

// Break ends the connections over which requests of a kind come.
func (b *FaultyBroker) Break(kind kmsg.Key) {
	b.cluster.ControlKey(int16(kind), func(kmsg.Request) (kmsg.Response, error, bool) {
		b.cluster.KeepControl()
		return nil, errors.New("the connection breaks"), true
	})
}
