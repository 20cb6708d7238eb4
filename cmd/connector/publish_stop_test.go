package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl/plain"

	"github.com/qicore/tickconnect/internal/devstack"
	"github.com/qicore/tickconnect/publish/files"
)

// placeText is what is kept of the only file.
func (f *publishing) placeText() string {
	f.Helper()
	found, err := filepath.Glob(f.path("state/*.json"))
	if err != nil || len(found) != 1 {
		f.Fatalf("%v, %v", found, err)
	}
	text, err := os.ReadFile(found[0])
	if err != nil {
		f.Fatal(err)
	}
	return string(text)
}

// TestPublishInterrupted: after Ctrl-C the next run goes on exactly, and need
// not look at the topics for that.
func TestPublishInterrupted(t *testing.T) {
	publishOnBoth(t, func(f *publishing) {
		const n = 60_000
		path := f.write("t.jsonl.zst", zstandard(f, goodLines(0, n/2)+"bad\n"+goodLines(n/2, n)))
		late := false // the brokers did not answer in time: the place is not clean
		for run := range 3 {
			from := f.end()
			cmd, said := f.process("--rate", "10000", path)
			f.waitEnd(from + 2000)
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				f.Fatal(err)
			}
			if err := cmd.Wait(); err == nil {
				f.Error("an interrupted run ends with exit code 0")
			}
			f.wantText(said.String(), "interrupted; the same command goes on where this one ended")
			if run > 0 && !late && strings.Contains(said.String(), "are in the topics already") {
				f.Errorf("the topics were looked at: %s", said)
			}
			if late = strings.Contains(said.String(), "had no answer within"); !late {
				f.wantText(f.placeText(), `"clean": true`)
			}
		}
		cmd, said := f.process(path)
		if err := cmd.Wait(); err == nil || cmd.ProcessState.ExitCode() != 1 { // for the bad line
			f.Errorf("the last run: %v, %s", err, said)
		}
		f.wantOnce(n)
		kept, err := os.ReadFile(f.path("t.jsonl.rejected"))
		if err != nil || string(kept) != "bad\n" {
			f.Errorf("kept are %q, %v", kept, err)
		}
	})
}

// TestPublishKilled: runs that are killed at any moment lose nothing, and what
// they published after their last save is found in the topics and not published
// again.
func TestPublishKilled(t *testing.T) {
	publishOnBoth(t, func(f *publishing) {
		const n, kills = 60_000, 6
		path := f.write("t.jsonl.gz", gzipped(f, goodLines(0, n)))
		foundAny := false
		for kill := range kills {
			from := f.end()
			cmd, said := f.process("--rate", "20000", path)
			f.waitEnd(from + n/20)
			signal := syscall.SIGKILL
			if kill == 2 {
				signal = syscall.SIGINT // what follows a run that ended in good order may be killed, too
			}
			if err := cmd.Process.Signal(signal); err != nil {
				f.Fatal(err)
			}
			_ = cmd.Wait() // it was interrupted
			foundAny = foundAny || strings.Contains(said.String(), "are in the topics already and are left out")
		}
		cmd, said := f.process(path)
		if err := cmd.Wait(); err != nil {
			f.Errorf("the last run: %v, %s", err, said)
		}
		f.wantOnce(n)
		if !foundAny && !strings.Contains(said.String(), "are in the topics already and are left out") {
			f.Error("no kill left anything to find, so that nothing was tested")
		}
	})
}

// TestPublishKilledSoon: a run that goes on after Ctrl-C and is killed before it
// saved anything is found out, too.
func TestPublishKilledSoon(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	const n = 5000
	path := f.write("t.jsonl", []byte(goodLines(0, n)))
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGKILL, syscall.SIGKILL} {
		from := f.end()
		cmd, _ := f.process("--rate", "2000", path)
		f.waitEnd(from + 200)
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // it was interrupted
	}
	if code, _, errOut := f.publish(path); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	f.wantOnce(n)
}

// TestPublishKilledWithoutRead: who may not read the topics gets each record at
// least once, and again no more of them than is said.
func TestPublishKilledWithoutRead(t *testing.T) {
	t.Parallel()
	f := newGuarded(t, kmsg.ACLOperationWrite, kmsg.ACLOperationDescribe, kmsg.ACLOperationCreate, kmsg.ACLOperationDescribeConfigs)
	const n = 60_000
	path := f.write("t.jsonl", []byte(goodLines(0, n)))
	cmd, _ := f.process(path)
	f.waitEnd(n / 10)
	_ = cmd.Process.Kill() // it may be done
	_ = cmd.Wait()
	before := f.end()
	code, _, errOut := f.publish(path)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errOut)
	}
	f.wantText(errOut, fmt.Sprintf("at most %d lines are published twice", files.WindowMax), "allow READ on it")
	seen := f.account()
	again := int(f.end()) - n
	if len(seen) != n || again > files.WindowMax || again < 0 {
		t.Errorf("%d of %d records are there, %d of them again, after a kill at %d", len(seen), n, again, before)
	}
	t.Logf("killed at %d; %d records were published again", before, again)
}

// newGuarded is a cluster where the user may do no more than that with topics.
func newGuarded(t *testing.T, may ...kadm.ACLOperation) *publishing {
	t.Helper()
	b, err := devstack.StartBroker(t.Context(), devstack.BrokerOptions{Users: []devstack.BrokerUser{
		{Mechanism: "PLAIN", Name: "root", Password: "r"}, {Mechanism: "PLAIN", Name: "writer", Password: "hunter2", Restricted: true},
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	f := newPublishing(t, b.Brokers(), kgo.SASL(plain.Auth{User: "root", Pass: "r"}.AsMechanism()))
	if len(may) > 0 {
		acl := kadm.NewACLs().Topics(f.topic()).Allow("User:writer").AllowHosts().Operations(may...).ResourcePatternType(kadm.ACLPatternLiteral)
		if _, err := kadm.NewClient(f.client).CreateACLs(f.ctx(), acl); err != nil {
			t.Fatal(err)
		}
	}
	f.connect = []string{"-c", f.write("connector.yaml", []byte(fmt.Sprintf(`
bootstrap.servers: %q
security.protocol: SASL_PLAINTEXT
sasl.mechanism: PLAIN
sasl.username: writer
sasl.password: hunter2
connectors:
  unused:
    connector.class: timescale-sink
    topics: crypto-prices
    connection.url: ${env:CONNECTOR_TEST_UNSET}
`, strings.Join(b.Brokers(), ","))))}
	return f
}

// TestPublishNotAuthorized ends with advice and without the password.
func TestPublishNotAuthorized(t *testing.T) {
	t.Parallel()
	f := newGuarded(t)
	path := f.write("t.jsonl", []byte(goodLines(0, 10)))
	code, out, errOut := f.publish(path)
	if code != 1 || strings.Contains(out+errOut, "hunter2") {
		t.Errorf("exit code %d, %s%s", code, out, errOut)
	}
	f.wantText(errOut, "do not authorize this client: allow ", "on topic "+f.topic())
	config := f.connect[1]
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	f.write("connector.yaml", []byte(strings.Replace(string(text), "hunter2", "hunter3", 1)))
	// This broker says nothing and hangs up, as one that is about to end does, too.
	ctx, cancel := context.WithCancel(f.ctx())
	defer cancel()
	said := &syncedBuffer{at: func(all string) {
		if strings.Contains(all, "or not take this user and password") {
			cancel()
		}
	}}
	if code := execute(ctx, f.args(path), said, said); code != 1 || strings.Contains(said.String(), "hunter3") {
		t.Errorf("exit code %d, %s", code, said)
	}
	f.wantText(said.String(), "waiting: ", "or not take this user and password")
}

// TestPublishNoCreate leaves a topic that is not there alone.
func TestPublishNoCreate(t *testing.T) {
	t.Parallel()
	f := newPublishing(t, brokerOf(t))
	path := f.write("t.jsonl", []byte(goodLines(0, 10)))
	code, _, errOut := f.publish("--no-create", path)
	if code != 1 || f.end() != 0 {
		t.Errorf("exit code %d, %d records", code, f.end())
	}
	f.wantText(errOut, "the topic is not there: "+f.topic(), "the same command goes on")
	if code, _, errOut = f.publish(path); code != 0 {
		t.Errorf("exit code %d: %s", code, errOut)
	}
	f.waitEnd(10)
	f.wantOnce(10)
}

// TestPublishBrokersAway: brokers that are not there are waited for, at the
// beginning and in the middle, and Ctrl-C ends the wait.
func TestPublishBrokersAway(t *testing.T) {
	t.Parallel()
	opts := devstack.BrokerOptions{Dir: t.TempDir()}
	b, err := devstack.StartBroker(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { b.Close() }()
	f := newPublishing(t, b.Brokers())
	if _, err := fmt.Sscanf(b.Brokers()[0], "127.0.0.1:%d", &opts.Port); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	path := f.write("t.jsonl", []byte(goodLines(0, 5000)))

	ctx, cancel := context.WithCancel(f.ctx())
	defer cancel()
	said := &syncedBuffer{at: func(all string) {
		if strings.Contains(all, "waiting: the brokers at") {
			cancel()
		}
	}}
	if code := execute(ctx, f.args(path), said, said); code != 1 || !strings.Contains(said.String(), "interrupted") {
		t.Errorf("exit code %d: %s", code, said)
	}

	_, said = f.process("--rate", "1000", path)
	f.waitFor("words about the brokers", func() bool { return strings.Contains(said.String(), "waiting: the brokers at") })
	if b, err = devstack.StartBroker(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	f.waitEnd(500)
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	f.waitFor("words about the brokers", func() bool { return strings.Contains(said.String(), "have not answered for") })
	if b, err = devstack.StartBroker(t.Context(), opts); err != nil {
		t.Fatal(err)
	}
	f.waitFor("an end", func() bool { return strings.Contains(said.String(), "topics\n") })
	f.waitEnd(5000)
	f.wantOnce(5000)
}
