package e2e

import (
	"net/http"
	"testing"

	"github.com/qicore/tickconnect/marketdata"
)

// TestKinds: records of each kind and two exchanges, some with the key of an
// earlier one, become rows with the digits that were sent, in both insert modes.
func TestKinds(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		for _, mode := range []string{"upsert", "tape"} {
			t.Run(mode, func(t *testing.T) {
				s := newStack(t, brokers)
				s.settings["insert.mode"] = mode
				s.journal.tape = mode == "tape"
				topics := map[marketdata.Kind][]string{}
				for _, kind := range marketdata.Kinds() {
					for _, exchange := range []string{"kraken", "okx"} {
						topics[kind] = append(topics[kind], s.createTopic(kind, exchange, 3))
					}
				}
				send := func(from, to int) {
					for _, kind := range marketdata.Kinds() {
						for i, exchange := range []string{"kraken", "okx"} {
							var samples []sample
							for seq := from; seq < to; seq++ {
								samples = append(samples, newSample(kind, s.exchange(exchange), seq, 0))
								if seq%5 == 0 {
									samples = append(samples, newSample(kind, s.exchange(exchange), seq, 1))
								}
							}
							s.produce(topics[kind][i], samples...)
						}
					}
				}
				send(0, 300) // a backlog
				r := s.start("replica-0")
				s.waitStored()
				send(300, 450) // while it runs
				s.checkAccount()
				r.waitHealth(http.StatusOK)
				if t.Failed() {
					return
				}
				// A second start under another name stores nothing twice.
				r.terminate(limit)
				s.start("replica-1")
				send(450, 460)
				s.checkAccount()
			})
		}
	})
}
