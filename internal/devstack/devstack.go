// Package devstack runs the systems that a connector talks to, privately and on
// the loopback interface: a real TimescaleDB, a real Apache Kafka, a real
// Prometheus, and an in-process Kafka broker. The demo, the tests and the
// benchmarks use it; it is not for production.
//
// TimescaleDB, Kafka and Prometheus are fetched once, with the machine's own
// package tools, into a cache folder. Nothing is installed and no root is needed.
package devstack

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// ErrUnavailable marks an error that says that this machine cannot provide a
// server: a tool is missing or the operating system is not supported. Tests
// skip on it.
var ErrUnavailable = errors.New("not available on this machine")

// unavailable is an ErrUnavailable whose message is one sentence for people.
type unavailable string

func (e unavailable) Error() string        { return string(e) }
func (e unavailable) Is(target error) bool { return target == ErrUnavailable }

// Progress tells how far a slow first start has come.
type Progress struct {
	// Step is what is being done, for people: "downloading TimescaleDB".
	Step string
	// Done and Total count bytes. Total is 0 where the step has no size.
	Done, Total int64
}

// unfinished is the folder in a data folder where a server's first files are
// made, before they get their place.
const unfinished = ".unfinished"

func report(to func(Progress), step string) {
	if to != nil {
		to(Progress{Step: step})
	}
}

// CacheDir returns the folder that keeps what was fetched: the variable
// TICKCONNECT_CACHE; else /var/cache/tickconnect for root, whose home other
// accounts cannot enter; else tickconnect in the user's cache folder.
func CacheDir() (string, error) {
	if dir := os.Getenv("TICKCONNECT_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if os.Geteuid() == 0 {
		return "/var/cache/tickconnect", nil
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding a cache folder (set TICKCONNECT_CACHE to name one): %w", err)
	}
	return filepath.Join(dir, "tickconnect"), nil
}

// openCache returns the folder name inside dir, or inside CacheDir where dir is
// empty, and makes it.
func openCache(dir, name string) (string, error) {
	if dir == "" {
		var err error
		if dir, err = CacheDir(); err != nil {
			return "", err
		}
	}
	dir, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("making the cache folder (set TICKCONNECT_CACHE to name another): %w", err)
	}
	return dir, nil
}

// fetchOnce returns the folder name inside cache. Where it is missing, it calls
// fill with an empty folder beside it, and renames that when fill is through: a
// fetch that is cut short leaves nothing that a later one could take for whole.
// One process fetches at a time, the others wait for it.
func fetchOnce(ctx context.Context, cache, name string, progress func(Progress), fill func(dir string) error) (string, error) {
	dir := filepath.Join(cache, name)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	lock, err := waitLock(ctx, filepath.Join(cache, "lock"), func() {
		report(progress, "waiting for another process that fetches "+name)
	})
	if err != nil {
		return "", err
	}
	defer lock.release()
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	leftovers, err := filepath.Glob(filepath.Join(cache, "fetch-*"))
	if err != nil {
		return "", err
	}
	for _, left := range leftovers {
		os.RemoveAll(left) //nolint:errcheck // what stays is in nobody's way
	}
	work, err := os.MkdirTemp(cache, "fetch-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	whole := filepath.Join(work, name)
	// MkdirTemp makes a private folder; another account's server and apt's own
	// account must get in.
	if err := errors.Join(os.Chmod(work, 0o755), os.Mkdir(whole, 0o755)); err != nil {
		return "", err
	}
	if err := fill(whole); err != nil {
		return "", err
	}
	if err := os.Rename(whole, dir); err != nil {
		return "", err
	}
	return dir, nil
}

// openData returns dir as an absolute path and makes it, or a new temporary
// folder where dir is empty, and takes its lock. Temporary folders of processes
// that died are removed on the way.
func openData(dir, kind string) (string, *fileLock, error) {
	if dir == "" {
		prefix := "tickconnect-" + kind + "-"
		sweep(prefix)
		var err error
		if dir, err = os.MkdirTemp("", prefix); err != nil {
			return "", nil, err
		}
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", nil, err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", nil, err
	}
	lock, err := tryLock(filepath.Join(dir, "lock"))
	if errors.Is(err, errLocked) {
		return "", nil, fmt.Errorf("data folder %s is in use by another process", dir)
	}
	if err != nil {
		return "", nil, err
	}
	return dir, lock, nil
}

// sweep removes temporary data folders whose owner died before it could.
func sweep(prefix string) {
	dirs, err := filepath.Glob(filepath.Join(os.TempDir(), prefix+"*"))
	if err != nil {
		return
	}
	for _, dir := range dirs {
		info, err := os.Lstat(dir)
		// A young folder may be about to take its lock.
		if err != nil || !info.IsDir() || !ownedByUs(info) || time.Since(info.ModTime()) < time.Minute {
			continue
		}
		lock, err := tryLock(filepath.Join(dir, "lock"))
		if err != nil {
			continue
		}
		if len(processesIn(dir)) == 0 {
			os.RemoveAll(dir)
		}
		lock.release()
	}
}

// listenFree listens on a free port of the loopback interface, below those that
// systems hand out by themselves. While a server is down, a client that tries its
// port again and again could else get that port as its own end, connect to
// itself, and keep the server from starting.
func listenFree(ctx context.Context) (net.Listener, error) {
	var err error
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 10000+rand.IntN(22000))
		var l net.Listener
		if l, err = new(net.ListenConfig).Listen(ctx, "tcp", address); err == nil {
			return l, nil
		}
	}
	return nil, fmt.Errorf("finding a free port: %w", err)
}

// freePort returns a port of the loopback interface that was free just now.
func freePort(ctx context.Context) (int, error) {
	l, err := listenFree(ctx)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// logTail returns the last lines of a server's log, for an error message.
func logTail(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return lastLines(string(data), 6)
}

func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
