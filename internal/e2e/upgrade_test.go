package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// olderCommit is the version that this one is run beside.
const olderCommit = "700e2610df7cc948e5c4b474ab48da971249f836"

// olderProgram builds it, once.
var olderProgram = sync.OnceValues(func() (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(root, "bin", "e2e", "older")
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(source, 0o755); err != nil {
		return "", err
	}
	archive := filepath.Join(dir, "source.tar")
	program := filepath.Join(dir, "connector")
	for _, args := range [][]string{
		{"git", "-C", root, "archive", "-o", archive, olderCommit},
		{"tar", "-xf", archive, "-C", source},
		{"go", "build", "-C", source, "-o", program, "./cmd/connector"},
	} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			return "", &buildError{strings.Join(args, " "), string(out), err}
		}
	}
	return program, nil
})

type buildError struct {
	command, out string
	err          error
}

func (e *buildError) Error() string { return e.command + ": " + e.err.Error() + ": " + e.out }
func (e *buildError) Unwrap() error { return e.err }

// TestOldBesideNew: in a rollout, and in one that is taken back, replicas of an older
// version work beside those of this one: on the same topics, ledger and topics of the
// worker; nothing is lost or doubled.
func TestOldBesideNew(t *testing.T) {
	t.Parallel()
	if err := exec.Command("git", "cat-file", "-e", olderCommit).Run(); err != nil {
		t.Skipf("this clone has no history that goes back to %s", olderCommit[:7])
	}
	older, err := olderProgram()
	if err != nil {
		t.Fatal(err)
	}
	newer, err := program()
	if err != nil {
		t.Fatal(err)
	}
	s := newStack(t, testenv.Kafka(t))
	p := s.newStream(4)
	var replicas [2]*replica
	configs := [2]string{s.worker("replica-0"), s.worker("replica-1")}
	start := func(i int, program string) {
		t.Helper()
		if replicas[i] != nil {
			replicas[i].terminate(30 * time.Second)
		}
		replicas[i] = startProgram(t, program, []string{"replica-0", "replica-1"}[i], configs[i])
		replicas[i].waitServing()
	}
	start(0, older)
	start(1, older)
	f := &fleet{s: s, configs: configs[:], replicas: replicas[:]}
	f.until(201, "POST", "/connectors", `{"name":"`+s.connector+`","config":`+s.overREST(nil)+`}`)
	p.run()
	path := "/connectors/" + s.connector + "/status"
	for _, step := range []struct {
		i       int
		program string
	}{{1, newer}, {0, newer}, {1, older}, {1, newer}} {
		p.waitMembers(2)
		s.waitMoving()
		start(step.i, step.program)
		// Each knows of the other.
		for i := range replicas {
			r := replicas[i]
			eventually(t, limit, func() string {
				code, answer := r.call(t.Context(), "GET", path, "")
				if code == 200 && strings.Contains(answer, `"replica-0:`) && strings.Contains(answer, `"replica-1:`) && !strings.Contains(answer, "UNASSIGNED") {
					return ""
				}
				return r.id + " says " + answer
			})
		}
	}
	p.waitMembers(2)
	s.waitEachUntil(time.Now())
	p.stop()
	s.checkAccount()
}
