package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"
)

// errLocked says that another holder has the lock.
var errLocked = errors.New("locked by another process")

// fileLock is an advisory lock on a file, held until release or until the
// process ends, however it ends. The file itself stays.
type fileLock struct{ f *os.File }

// tryLock takes the lock at path, or returns errLocked.
func tryLock(path string) (*fileLock, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := lockFile(f); err != nil {
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, errLocked
		}
		return nil, fmt.Errorf("locking %s: %w", path, err)
	}
	return &fileLock{f}, nil
}

// waitLock takes the lock at path, waiting for it until ctx ends. It calls
// waiting once when it has to wait.
func waitLock(ctx context.Context, path string, waiting func()) (*fileLock, error) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for first := true; ; first = false {
		lock, err := tryLock(path)
		if !errors.Is(err, errLocked) {
			return lock, err
		}
		if first {
			waiting()
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for %s: %w", path, ctx.Err())
		case <-tick.C:
		}
	}
}

func (l *fileLock) release() { l.f.Close() }
