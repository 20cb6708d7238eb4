// Package e2e tests the built program against real servers: records in topics,
// rows in tables, and the account between them, over faults of every part.
//
// The chaos test is short unless TICKCONNECT_ACCEPTANCE=1 or ROUNDS is set; see the
// targets acceptance and chaos of the Makefile.
package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// program builds the connector once, with the race detector where the tests have
// it, and returns its path.
var program = sync.OnceValues(func() (string, error) { return build("connector", "./cmd/connector") })

// brokerProgram likewise builds the in-process broker for a process of its own.
var brokerProgram = sync.OnceValues(func() (string, error) { return build("broker", "./internal/devstack/cmd/broker") })

func build(name, pkg string) (string, error) {
	root, err := moduleRoot()
	if err != nil {
		return "", err
	}
	args := []string{"build"}
	if raceEnabled {
		name += "-race"
		args = append(args, "-race")
	}
	path := filepath.Join(root, "bin", "e2e", name)
	cmd := exec.Command("go", append(args, "-o", path, pkg)...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s: %w\n%s", pkg, err, out)
	}
	return path, nil
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("found no go.mod")
		}
		dir = parent
	}
}

// acceptance says whether tests may take hours.
func acceptance() bool { return os.Getenv("TICKCONNECT_ACCEPTANCE") == "1" }

// limit is how long a test waits for what must happen. It is far above what it
// takes: machines that run tests are loaded.
const limit = 90 * time.Second

// eventually polls until the check finds nothing missing, and fails with what it
// said last once the time is over.
func eventually(t testing.TB, within time.Duration, missing func() string) {
	t.Helper()
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		last := missing()
		if last == "" {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("after %v still: %s", within, last)
		case <-t.Context().Done():
			t.Fatalf("the test has ended, still: %s", last)
		case <-tick.C:
		}
	}
}
