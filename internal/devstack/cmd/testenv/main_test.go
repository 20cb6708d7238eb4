//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestExitCodeIsTheCommands(t *testing.T) {
	t.Parallel()
	for script, want := range map[string]int{
		"exit 0":         0,
		"exit 3":         3,
		"kill -KILL $$":  128 + 9,
		"exec /no/where": 127,
	} {
		if got := run(false, false, []string{"sh", "-c", script}); got != want {
			t.Errorf("%q ends with %d, want %d", script, got, want)
		}
	}
	if got := run(false, false, []string{"/no/where"}); got != 1 {
		t.Errorf("a missing command ends with %d, want 1", got)
	}
}

func TestSignalsReachTheCommand(t *testing.T) {
	t.Parallel()
	ready := filepath.Join(t.TempDir(), "ready")
	if err := syscall.Mkfifo(ready, 0o600); err != nil {
		t.Fatal(err)
	}
	signals := make(chan os.Signal, 1)
	type end struct {
		code int
		err  error
	}
	ended := make(chan end, 1)
	go func() {
		code, err := execute([]string{"sh", "-c", `trap 'exit 7' TERM; echo > "$READY"; while :; do sleep 0.05; done`}, []string{"READY=" + ready}, signals)
		ended <- end{code, err}
	}()
	if _, err := os.ReadFile(ready); err != nil { // until the trap is set
		t.Fatal(err)
	}
	signals <- syscall.SIGTERM
	if got := <-ended; got.code != 7 || got.err != nil {
		t.Errorf("it ends with %+v, want code 7", got)
	}
}

func TestCommandSeesTheServers(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a database")
	}
	out := filepath.Join(t.TempDir(), "out")
	code := run(true, false, []string{"sh", "-c", `echo "$TEST_DATABASE_URL $TEST_DATABASE_ID" > ` + out})
	if code != 0 {
		t.Fatalf("it ends with %d", code)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	f := strings.Fields(string(content))
	if len(f) != 2 || !strings.HasPrefix(f[0], "postgres://") || f[1] == "" {
		t.Errorf("the command sees %q", content)
	}
}
