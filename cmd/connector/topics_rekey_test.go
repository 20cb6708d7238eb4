package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
)

// rekeying is a topic as cryptofeed writes one, with one key for all records, and
// the name of the topic that it is copied to.
type rekeying struct {
	*topicsFixture
	from, to, group string
	records         []*kgo.Record
}

const rekeyKey = "trades"

func newRekeying(f *topicsFixture, n int) *rekeying {
	r := &rekeying{topicsFixture: f, from: "trades-" + f.exchange, to: f.topic(marketdata.KindTrade) + "-keyed"}
	r.group = "tickconnect-rekey-" + r.to
	f.create(r.from, 3, nil)
	f.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if _, err := f.admin.DeleteTopics(ctx, r.from, r.to); err != nil {
			f.Logf("deleting topics: %v", err)
		}
		if _, err := f.admin.DeleteGroups(ctx, r.group); err != nil {
			f.Logf("deleting the group: %v", err)
		}
	})
	begin := time.Now().Add(-time.Hour).Truncate(time.Millisecond) // older ones would be deleted by retention
	for i := range n {
		value := fmt.Appendf(nil, `{"exchange":"KRAKEN","symbol":"S%d-USD","side":"buy","amount":1.50,"price":%d.10,"id":"%d","type":null,"timestamp":1700000000.5,"receipt_timestamp":1700000000.6}`,
			i%20, 1+i, i)
		switch i {
		case 100:
			value = []byte("no JSON")
		case n - 1:
			value = nil
		}
		r.records = append(r.records, &kgo.Record{
			Topic: r.from, Partition: 1, Key: []byte(rekeyKey), Value: value, Timestamp: begin.Add(time.Duration(i) * time.Millisecond),
			Headers: []kgo.RecordHeader{{Key: "n", Value: fmt.Append(nil, i)}},
		})
	}
	f.produce(f.client, r.records...)
	return r
}

func (r *rekeying) args() []string {
	return []string{"rekey", r.from, r.to, "--converter", "cryptofeed", "--partitions", "6"}
}

// process starts the command as a process of its own.
func (r *rekeying) process() *exec.Cmd {
	r.Helper()
	cmd := exec.Command(os.Args[0], append(append([]string{"topics"}, r.args()...), "--brokers", strings.Join(r.brokers, ","))...)
	cmd.Env = append(os.Environ(), runAsConnector+"=1")
	said := &syncedBuffer{}
	cmd.Stdout, cmd.Stderr = said, said
	if err := cmd.Start(); err != nil {
		r.Fatal(err)
	}
	r.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill() // it may have ended by itself
			_ = cmd.Wait()
		}
		if r.Failed() {
			r.Logf("connector topics rekey said:\n%s", said)
		}
	})
	return cmd
}

// end is how many offsets the new topic has in all.
func (r *rekeying) end() (n int64) {
	offsets, err := r.admin.ListEndOffsets(r.Context(), r.to)
	if err != nil || offsets.Error() != nil {
		return 0
	}
	for _, p := range offsets[r.to] {
		n += p.Offset
	}
	return n
}

// wantCopied reads the new topic as its consumers do: each record is there once,
// byte for byte, where its key belongs, in the old order.
func (r *rekeying) wantCopied() {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), time.Minute) // the transaction of one that was killed is given up late
	defer cancel()
	reader := r.newClient(kgo.ConsumeTopics(r.to), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	last, seen := map[string]int{}, map[int]bool{}
	for len(seen) < len(r.records) {
		fetches := reader.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			r.Fatalf("%d of %d records are there: %v", len(seen), len(r.records), err)
		}
		fetches.EachRecord(func(got *kgo.Record) {
			var i int
			if _, err := fmt.Sscan(string(got.Headers[0].Value), &i); err != nil || len(got.Headers) != 1 || seen[i] {
				r.Fatalf("record %d is there again, %v", i, err)
			}
			seen[i] = true
			want := r.records[i]
			key := fmt.Sprintf("S%d-USD", i%20)
			if i == 100 || i == len(r.records)-1 {
				key = rekeyKey
			}
			if string(got.Key) != key || string(got.Value) != string(want.Value) || (got.Value == nil) != (want.Value == nil) ||
				!got.Timestamp.Equal(want.Timestamp) || got.Partition != marketdata.Partition(got.Key, 6) {
				r.Fatalf("record %d is %+v, want the key %s and %+v", i, got, key, want)
			}
			if before, ok := last[key]; ok && before > i {
				r.Fatalf("record %d of key %s comes after %d", i, key, before)
			}
			last[key] = i
		})
	}
}

// TestTopicsRekey: a copy that is interrupted and killed ends with each record
// once, under the key of its symbol; a further run copies nothing.
func TestTopicsRekey(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		r := newRekeying(f, 40_000)
		for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGINT} {
			before := r.end()
			cmd := r.process()
			r.waitUntil("some records are copied", func() bool { return r.end() > before })
			if err := cmd.Process.Signal(signal); err != nil {
				f.Fatal(err)
			}
			_ = cmd.Wait() // it may have come to its end
		}
		var answer rekeyAnswer
		if code := f.answer(&answer, r.args()...); code != 0 || !answer.Finished || answer.Done != answer.Of || answer.Of < int64(len(r.records)) {
			f.Errorf("exit code %d, %+v", code, answer)
		}
		r.wantCopied()
		end := r.end()
		if code := f.answer(&answer, r.args()...); code != 0 || !answer.Finished || answer.Copied != 0 || r.end() != end {
			f.Errorf("a further run: exit code %d, %+v", code, answer)
		}
		// What comes later is copied by a later run.
		late := *r.records[7]
		f.produce(f.client, &late)
		if code := f.answer(&answer, r.args()...); code != 0 || answer.Copied != 1 || answer.Kept != 0 {
			f.Errorf("a later run: exit code %d, %+v", code, answer)
		}
	})
}

// TestTopicsRekeyRefuses says what to do, and makes nothing.
func TestTopicsRekeyRefuses(t *testing.T) {
	onBothClusters(t, func(f *topicsFixture) {
		r := newRekeying(f, 200)
		for want, args := range map[string][]string{
			"cannot be copied into itself":                    {r.from, r.from},
			"there is no topic trades-nowhere":                {"trades-nowhere", r.to},
			"say in --converter who wrote it":                 {r.from, r.to, "--converter", "native"},
			"is none of native, cryptofeed":                   {r.from, r.to, "--converter", "cryptofed"},
			"did you mean value.converter.cryptofeed.version": {r.from, r.to, "--set", "value.converter.cryptofeed.versio=2"},
			"is not of the form value.converter":              {r.from, r.to, "--set", "version=2"},
			"--layout":                                        {r.from, r.to, "--layout", "exchange"},
			"is outside 1..10000":                             {r.from, r.to, "--partitions", "-1"},
		} {
			args = append([]string{"rekey"}, args...)
			if !strings.Contains(strings.Join(args, " "), "--converter") {
				args = append(args, "--converter", "cryptofeed")
			}
			code, out, errOut := f.run(args...)
			if code == 0 || !strings.Contains(out+errOut, want) {
				f.Errorf("%v: exit code %d, %s%s, want %s", args, code, out, errOut, want)
			}
		}
		if topics, err := f.admin.ListTopics(f.Context(), r.to); err != nil || topics.Has(r.to) && topics[r.to].Err == nil {
			f.Fatalf("%s was made: %v", r.to, err)
		}
		// Records of another origin are not mixed in.
		f.create(r.to, 2, nil)
		f.produce(f.client, &kgo.Record{Topic: r.to, Value: []byte("x")})
		if code, out, errOut := f.run(r.args()...); code == 0 || !strings.Contains(out+errOut, "holds records that group") {
			f.Errorf("into a topic that is not empty: exit code %d, %s%s", code, out, errOut)
		}
	})
}

// waitUntil waits for something that is asked for again and again.
func (r *rekeying) waitUntil(what string, so func() bool) {
	r.Helper()
	deadline := time.After(60 * time.Second)
	for !so() {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-deadline:
			r.Fatalf("still not: %s", what)
		}
	}
}
