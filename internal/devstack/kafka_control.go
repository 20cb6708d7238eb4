package devstack

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Stop ends the broker in good order. When ctx ends first, it kills it and
// returns ctx's error. A stopped broker may be started again with Restart.
func (k *Kafka) Stop(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.stop(ctx)
}

func (k *Kafka) stop(ctx context.Context) error {
	if k.server == nil {
		return nil
	}
	server := k.server
	k.server = nil
	if err := server.end(ctx, syscall.SIGTERM, 30*time.Second); err != nil {
		server.kill()
		return fmt.Errorf("stopping Apache Kafka in good order: %w", err)
	}
	return nil
}

// Kill ends the broker with SIGKILL, for tests of a crash.
func (k *Kafka) Kill() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kill()
	return nil
}

func (k *Kafka) kill() {
	if k.server != nil {
		k.server.kill()
		k.server = nil
	}
}

// Restart stops the broker where it runs and starts it again on the same port
// with the same log. After Kill it takes a few seconds more: the dead broker's
// session must end first.
func (k *Kafka) Restart(ctx context.Context) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return errors.New("the broker is closed")
	}
	if err := k.stop(ctx); err != nil {
		return err
	}
	return k.start(ctx)
}

// Close stops the broker, releases the folder and removes it where it is a
// temporary one. It may be called again.
func (k *Kafka) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	var err error
	if k.opts.Dir == "" { // nothing to keep
		k.kill()
		err = os.RemoveAll(k.dir)
	} else {
		err = k.stop(context.Background())
	}
	k.lock.release()
	return err
}

// newClusterID returns a random UUID in Kafka's notation: 22 characters of
// URL-safe base64. Kafka refuses one with a leading dash.
func newClusterID() string {
	for {
		var b [16]byte
		rand.Read(b[:]) //nolint:errcheck // never fails
		id := base64.RawURLEncoding.EncodeToString(b[:])
		if !strings.HasPrefix(id, "-") {
			return id
		}
	}
}
