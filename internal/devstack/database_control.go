package devstack

import (
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// URL names the server, with its password, as pgx and libpq take it. It stays
// the same over Restart.
func (d *Database) URL() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.url(databaseName)
}

// Port returns the server's port on 127.0.0.1.
func (d *Database) Port() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.port
}

// SystemID returns the system_identifier of pg_control_system(), which no other
// server has.
func (d *Database) SystemID() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.systemID
}

// Stop ends the server in good order, and connections with it. When ctx ends
// first, it hurries, returns ctx's error, and the next start recovers. A stopped
// server may be started again with Restart.
func (d *Database) Stop(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stop(ctx)
}

func (d *Database) stop(ctx context.Context) error {
	if d.server == nil {
		return nil
	}
	server := d.server
	d.server = nil
	if err := server.end(ctx, syscall.SIGINT, 30*time.Second); err != nil { // "fast": connections are cut
		return errors.Join(fmt.Errorf("stopping the database in good order: %w", err), d.abort(server))
	}
	return nil
}

// abort ends the server without a checkpoint, by force if need be.
func (d *Database) abort(server *process) error {
	if server.end(context.Background(), syscall.SIGQUIT, 5*time.Second) == nil { // "immediate"
		return nil
	}
	if err := killAll(d.data, server.cmd.Process); err != nil {
		return err
	}
	<-server.done
	return nil
}

// Kill ends the server and all its children with SIGKILL, at once, for tests
// of a crash.
func (d *Database) Kill() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.kill()
}

func (d *Database) kill() error {
	if d.server == nil {
		return nil
	}
	server := d.server
	d.server = nil
	if err := killAll(d.data, server.cmd.Process); err != nil {
		return err
	}
	<-server.done
	return nil
}

// Restart stops the server where it runs and starts it again on the same port
// with the same data.
func (d *Database) Restart(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errors.New("the database is closed")
	}
	if err := d.stop(ctx); err != nil {
		return err
	}
	return d.start(ctx)
}

// Close stops the server, releases the data folder and removes it where it is a
// temporary one. It may be called again.
func (d *Database) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil
	}
	d.closed = true
	var err error
	if d.opts.Dir == "" { // nothing to keep
		err = errors.Join(d.kill(), os.RemoveAll(d.dir))
	} else {
		err = d.stop(context.Background())
	}
	d.lock.release()
	return err
}
