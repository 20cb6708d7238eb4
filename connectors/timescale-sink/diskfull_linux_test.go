package timescalesink

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// TestDiskFull fills a real, small file system, on which the rows and the ledger
// lie, until the server cannot extend a file; then the disk grows.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: only root can mount a small file system; TestServerFaults raises 53100")
	}
	f := ownServer(t)
	folder := smallDisk(t, value[string](f, "SELECT current_setting('data_directory')"), "6m")
	f.exec("CREATE TABLESPACE small LOCATION '" + folder + "'")
	cfg := *f.cfg
	cfg.ConnectionURL = f.url + "?default_tablespace=small"
	c := f.connectorWith(&cfg)
	p := tp(trades, 0)
	s := f.opened(c, p)

	const rows = 400
	filler := strings.Repeat("x", 1000)
	records := func(from int64) connect.Part {
		var out []connect.Record
		for o := from; o < from+rows; o++ {
			r := trade(o, o, fmt.Sprint(o), "1")
			r.Value = fmt.Appendf(nil, `{"exchangeId":"kraken","symbol":"BTC-USD","tradeId":"%d","time":%d,"price":1,"size":1,"source":"%s"}`, o, baseTime, filler)
			out = append(out, r)
		}
		return part(c, p, out...)
	}
	var next int64
	var err error
	for err == nil && next < 100*rows {
		if _, err = s.Put(f.ctx(), batch(records(next))); err == nil {
			next += rows
		}
	}
	if sqlState(err) != "53100" {
		t.Fatalf("after %d rows: %v, want SQLSTATE 53100", next, err)
	}
	wantKind(t, err, "retry")
	f.wantUntouched(s, p, next, next)
	_, err = s.Put(f.ctx(), batch(records(next))) // as the worker tries again
	wantKind(t, err, "retry")
	f.wantUntouched(s, p, next, next)

	if err := syscall.Mount("none", folder, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	f.put(s, records(next))
	f.wantUntouched(s, p, next+rows, next+rows)
}

// smallDisk mounts a file system of this size for the owner of a data folder.
func smallDisk(t *testing.T, data, size string) string {
	t.Helper()
	info, err := os.Stat(data)
	if err != nil {
		t.Fatal(err)
	}
	owner := info.Sys().(*syscall.Stat_t)
	folder, err := os.MkdirTemp("", "tickconnect-small-disk-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(folder) })
	if err := syscall.Mount("none", folder, "tmpfs", 0, "size="+size+",mode=700"); err != nil {
		t.Skipf("NOT TESTED: mounting a small file system: %v; TestServerFaults raises 53100", err)
	}
	// The server still has it open; it goes with the server.
	t.Cleanup(func() {
		if err := syscall.Unmount(folder, syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chown(folder, int(owner.Uid), int(owner.Gid)); err != nil {
		t.Fatal(err)
	}
	return folder
}

// ownServer is a fixture on a server that belongs to the test.
func ownServer(t *testing.T) *fixture {
	t.Helper()
	return setupAt(t, testenv.OwnDatabase(t).URL(), "public", nil)
}
