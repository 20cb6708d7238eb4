package devstack

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
)

// oldestPostgres is the oldest major version that the sink supports.
const oldestPostgres = 15

// findTimescale returns the bin folder of a PostgreSQL with TimescaleDB: one
// that the machine has installed, else one that is fetched into the cache.
func findTimescale(ctx context.Context, cache string, progress func(Progress)) (string, error) {
	if runtime.GOOS != "linux" {
		// Elsewhere we could not tell whether a server still works in a folder.
		return "", unavailable("a private TimescaleDB needs Linux: " + elsewhere)
	}
	if bin := installedTimescale("/"); bin != "" {
		return bin, nil
	}
	cache, err := openCache(cache, "timescaledb")
	if err != nil {
		return "", err
	}
	prefix, err := fetchOnce(ctx, cache, "postgresql-"+fetchedPostgres, progress, func(dir string) error {
		return fetchTimescale(ctx, dir, progress)
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(prefix, "usr/lib/postgresql", fetchedPostgres, "bin"), nil
}

// installedTimescale returns the bin folder of the newest PostgreSQL below root,
// in Debian's layout, that has the extension, or "".
func installedTimescale(root string) string {
	controls, err := filepath.Glob(filepath.Join(root, "usr/share/postgresql/*/extension/timescaledb.control"))
	if err != nil {
		return ""
	}
	var versions []int
	for _, control := range controls {
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(control))))
		if err == nil && version >= oldestPostgres {
			versions = append(versions, version)
		}
	}
	slices.Sort(versions)
	for _, version := range slices.Backward(versions) {
		bin := filepath.Join(root, "usr/lib/postgresql", strconv.Itoa(version), "bin")
		if _, err := os.Stat(filepath.Join(bin, "initdb")); err == nil {
			return bin
		}
	}
	return ""
}
