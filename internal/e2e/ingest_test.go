package e2e

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
)

// TestIngestSurvivesKill: what was answered with 200 is in the topic after
// kill -9 of the process that took it, at whatever moment that came; nothing is
// there that was not sent, and what got no answer is there at most once.
func TestIngestSurvivesKill(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		exchange := "e2e" + strings.ToLower(rand.Text()[:10])
		topic := marketdata.TopicName(marketdata.KindTrade, exchange)
		config := writeFile(t, "connector.yaml", "listeners: http://127.0.0.1:0\npublish.listeners: http://127.0.0.1:0\nbootstrap.servers: "+strings.Join(brokers, ",")+"\n")

		accepted, sent := map[string]bool{}, map[string]bool{}
		for round := range 3 {
			r := startReplica(t, "ingest", config)
			const sign = `msg="serving ingest" listeners=`
			r.waitLog(sign)
			_, rest, _ := strings.Cut(r.log.String(), sign)
			address, _, _ := strings.Cut(rest, "\n")
			f := &feeder{url: address + "/publish/trade", exchange: exchange, enough: make(chan struct{})}
			f.run(t, fmt.Sprint(round), 4)
			select {
			case <-f.enough:
			case <-time.After(limit):
				t.Fatal("too few records are accepted")
			}
			r.replaced.Store(true)
			r.kill()
			f.senders.Wait()
			for id := range f.sent {
				sent[id] = true
			}
			for id := range f.accepted {
				accepted[id] = true
			}
			t.Logf("round %d: %d records sent, %d accepted", round, len(f.sent), len(f.accepted))
		}

		// Not sooner: it would remember that the topic was not there.
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		if err != nil {
			t.Fatal(err)
		}
		admin := kadm.NewClient(client)
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			_, _ = admin.DeleteTopics(ctx, topic) // the cluster may be gone with the test
			client.Close()
		})
		ends, err := admin.ListEndOffsets(t.Context(), topic)
		if err != nil || ends.Error() != nil {
			t.Fatal(err, ends.Error())
		}
		var n int64
		ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		found := map[string]int{}
		for read := int64(0); read < n; {
			fetches := client.PollFetches(ctx)
			if err := fetches.Err(); err != nil {
				t.Fatal(err)
			}
			for _, r := range fetches.Records() {
				var d marketdata.Decoder
				var v marketdata.Trade
				if err := d.Trade(r.Value, time.Now(), &v); err != nil {
					t.Fatal(err)
				}
				found[strings.Clone(v.TradeID)]++
				read++
			}
		}
		for id := range accepted {
			if found[id] == 0 {
				t.Errorf("record %s was answered with 200 and is not in the topic", id)
			}
		}
		for id, times := range found {
			if !sent[id] || times != 1 {
				t.Errorf("record %s is there %d times; sent: %v", id, times, sent[id])
			}
		}
	})
}

// feeder sends batches over HTTP until the server is gone.
type feeder struct {
	url, exchange string
	enough        chan struct{} // closed once many were accepted
	senders       sync.WaitGroup

	mu             sync.Mutex
	sent, accepted map[string]bool
}

func (f *feeder) run(t *testing.T, name string, senders int) {
	f.sent, f.accepted = map[string]bool{}, map[string]bool{}
	for s := range senders {
		f.senders.Go(func() {
			for i := 0; f.send(t, fmt.Sprintf("%s-%d-%d", name, s, i)); i++ {
			}
		})
	}
}

// send sends one batch and says whether the server still answers.
func (f *feeder) send(t *testing.T, batch string) bool {
	const records, enough = 50, 2000
	var body strings.Builder
	ids := make([]string, records)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s-%d", batch, i)
		fmt.Fprintf(&body, `{"exchangeId":%q,"symbol":"S%d","tradeId":%q,"time":1767323045,"price":"1.10","size":"2"}`+"\n", f.exchange, i%10, ids[i])
	}
	f.mu.Lock()
	for _, id := range ids {
		f.sent[id] = true
	}
	f.mu.Unlock()
	resp, err := http.Post(f.url, "application/x-ndjson", strings.NewReader(body.String()))
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("status %d", resp.StatusCode)
		return false
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	before := len(f.accepted)
	for _, id := range ids {
		f.accepted[id] = true
	}
	if before < enough && len(f.accepted) >= enough {
		close(f.enough)
	}
	return true
}
