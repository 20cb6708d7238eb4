package e2e

import (
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// TestResetWhileRecordsFlow: offsets go back to the beginning, one topic after the other,
// while two replicas store and records come: what is read again changes nothing, in tables
// with a key and in a tape.
func TestResetWhileRecordsFlow(t *testing.T) {
	t.Parallel()
	eachBroker(t, func(t *testing.T, brokers []string) {
		path, err := program()
		if err != nil {
			t.Fatal(err)
		}
		s := newStack(t, brokers)
		s.settings["tape.replay.index"] = "true"
		p := s.newStream(4)
		s.start("replica-0")
		s.start("replica-1")
		config := s.config("by-hand", nil, "")
		p.run()
		p.waitMembers(2)
		for range 2 {
			for _, kind := range streamKinds {
				s.waitEachUntil(time.Now())
				cmd := exec.Command(path, "offsets", "reset", s.connector, "-c", config, "--topic", p.topics[kind], "--to", "earliest", "--yes")
				cmd.Env = append(cmd.Environ(), "GORACE=exitcode=0")
				out, err := cmd.CombinedOutput()
				if err != nil || !strings.Contains(string(out), "is live") {
					t.Fatalf("resetting %s: %v: %s", p.topics[kind], err, out)
				}
			}
		}
		s.waitEachUntil(time.Now())
		p.stop()
		s.waitStored()
		for _, kind := range marketdata.Kinds() {
			s.checkRows(kind, "")
		}
		s.checkDeadLetters()
	})
}
