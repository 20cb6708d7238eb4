package devstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// ownerEnv makes the test binary own a server, "database" or "broker", in the
// folder that it names, print how to reach it, and wait to be killed.
const ownerEnv = "DEVSTACK_TEST_OWNER"

func TestMain(m *testing.M) {
	if what, dir, ok := strings.Cut(os.Getenv(ownerEnv), ":"); ok {
		address, err := ownServer(what, dir)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(address)
		select {}
	}
	os.Exit(m.Run())
}

func ownServer(what, dir string) (string, error) {
	if what == "broker" {
		b, err := StartBroker(context.Background(), BrokerOptions{Dir: dir, Topics: []BrokerTopic{{"kept", 1}}})
		if err != nil {
			return "", err
		}
		return b.Brokers()[0], nil
	}
	d, err := StartDatabase(context.Background(), DatabaseOptions{Dir: dir})
	if err != nil {
		return "", err
	}
	return d.URL(), nil
}

// owner is a process that owns a server.
type owner struct{ cmd *exec.Cmd }

// startOwner starts one and returns what it printed.
func startOwner(t *testing.T, what, dir string) (owner, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerEnv+"="+what+":"+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { owner{cmd}.kill(t) })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return owner{cmd}, strings.TrimSpace(line)
}

// kill ends the owner with SIGKILL. It may be called again.
func (o owner) kill(t *testing.T) {
	t.Helper()
	if err := o.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Error(err)
	}
	o.cmd.Wait() //nolint:errcheck // it was killed
}

// serverDir returns a folder that any account can enter: PostgreSQL does not run
// as root, and t.TempDir is private.
func serverDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "devstack-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// need is testenv.Need, which this package cannot import.
func need(t *testing.T, err error) {
	t.Helper()
	if errors.Is(err, ErrUnavailable) && os.Getenv("CI") != "true" && os.Getenv("TICKCONNECT_REQUIRE") != "1" {
		t.Skipf("NOT TESTED: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until what holds, within a limit.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-deadline:
			t.Fatalf("not within 20 s: %s", what)
		case <-tick.C:
		}
	}
}

func TestInterruptedFetchLeavesNothingHalf(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	interrupted := errors.New("interrupted")
	half := func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "first"), nil, 0o644); err != nil {
			return err
		}
		return interrupted
	}
	if _, err := fetchOnce(t.Context(), cache, "thing", nil, half); !errors.Is(err, interrupted) {
		t.Fatalf("error is %v, want %v", err, interrupted)
	}
	// A process that was killed could not clean up.
	left := filepath.Join(cache, "fetch-123", "thing")
	if err := os.MkdirAll(left, 0o755); err != nil {
		t.Fatal(err)
	}
	dir, err := fetchOnce(t.Context(), cache, "thing", nil, func(dir string) error {
		if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
			t.Errorf("the second fetch begins with %v, %v; want an empty folder", entries, err)
		}
		return os.WriteFile(filepath.Join(dir, "whole"), nil, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	if !fileExists(filepath.Join(dir, "whole")) {
		t.Error("the fetched file is missing")
	}
	entries, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	if got := strings.Join(names, " "); got != "lock thing" {
		t.Errorf("the cache holds %q, want %q", got, "lock thing")
	}
}

func TestConcurrentFetchesFetchOnce(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	var fetches atomic.Int32
	var wg sync.WaitGroup
	waiting := make(chan struct{}, 1)
	for range 2 {
		wg.Go(func() {
			_, err := fetchOnce(t.Context(), cache, "thing", func(Progress) { waiting <- struct{}{} }, func(string) error {
				fetches.Add(1)
				select {
				case <-waiting: // the other one waits for us
					return nil
				case <-time.After(10 * time.Second):
					return errors.New("nobody waits for this fetch")
				}
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := fetches.Load(); n != 1 {
		t.Errorf("fetched %d times, want once", n)
	}
}

func TestWaitingForAFetchEndsWithItsContext(t *testing.T) {
	t.Parallel()
	cache := t.TempDir()
	lock, err := tryLock(filepath.Join(cache, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.release()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = fetchOnce(ctx, cache, "thing", func(Progress) { cancel() }, func(string) error {
		t.Error("fetched without the lock")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want %v", err, context.Canceled)
	}
}

func TestSweepRemovesOnlyAbandonedFolders(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp) // not parallel: os.TempDir follows it
	old := time.Now().Add(-time.Hour)
	makeDir := func(name string, age time.Time) string {
		dir := filepath.Join(tmp, name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "lock"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(dir, age, age); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	abandoned := makeDir("tickconnect-kind-1", old)
	young := makeDir("tickconnect-kind-2", time.Now())
	used := makeDir("tickconnect-kind-3", old)
	foreign := makeDir("something-else", old)
	lock, err := tryLock(filepath.Join(used, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer lock.release()
	sweep("tickconnect-kind-")
	if fileExists(abandoned) {
		t.Error("the abandoned folder is still there")
	}
	for _, dir := range []string{young, used, foreign} {
		if !fileExists(dir) {
			t.Errorf("%s is gone", dir)
		}
	}
}

func TestCacheDir(t *testing.T) {
	t.Setenv("TICKCONNECT_CACHE", "/somewhere/else")
	if dir, err := CacheDir(); err != nil || dir != "/somewhere/else" {
		t.Errorf("CacheDir() = %q, %v; want the variable's folder", dir, err)
	}
	t.Setenv("TICKCONNECT_CACHE", "")
	t.Setenv("HOME", "/home/someone")
	t.Setenv("XDG_CACHE_HOME", "/home/someone/.cache")
	want := "/home/someone/.cache/tickconnect"
	if os.Geteuid() == 0 {
		want = "/var/cache/tickconnect"
	}
	if dir, err := CacheDir(); err != nil || dir != want {
		t.Errorf("CacheDir() = %q, %v; want %q", dir, err, want)
	}
}

func TestFreePortsAreNotTheSystemsOwn(t *testing.T) {
	t.Parallel()
	for range 50 {
		port, err := freePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if port < 10000 || port >= 32768 { // Linux hands out 32768 and above
			t.Errorf("port %d", port)
		}
	}
	b := startBroker(t, BrokerOptions{})
	if _, port, _ := strings.Cut(b.Brokers()[0], ":"); len(port) != 5 || port >= "32768" {
		t.Errorf("the broker's port is %s", port)
	}
}
