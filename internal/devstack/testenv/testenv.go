// Package testenv gives tests real servers: a TimescaleDB, an Apache Kafka, a
// Prometheus, and the in-process broker.
//
// The shared ones are those that the variables name (cmd/testenv sets them);
// else the first test that wants one starts it, for its test process. A package
// whose tests use shared servers ends them with
//
//	func TestMain(m *testing.M) { testenv.Main(m) }
//
// Where a machine cannot run a server, the test skips and says why; with CI=true
// or TICKCONNECT_REQUIRE=1 it fails.
package testenv

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/qicore/tickconnect/internal/devstack"
)

// The variables that name shared servers. The ids, where set, must be those of
// the servers that answer: the system_identifier and the cluster id.
const (
	DatabaseURL  = "TEST_DATABASE_URL"
	DatabaseID   = "TEST_DATABASE_ID"
	KafkaBrokers = "TEST_KAFKA_BROKERS" // comma separated
	KafkaID      = "TEST_KAFKA_ID"
)

// startLimit bounds a server's start, its first fetch included.
const startLimit = 5 * time.Minute

// Main runs the tests, ends the shared servers that this process started, and
// exits.
func Main(m *testing.M) {
	code := m.Run()
	if err := errors.Join(database.close(), kafka.close()); err != nil {
		fmt.Fprintln(os.Stderr, "testenv: ending the shared servers:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// Need ends the test if err is not nil: it skips where the machine cannot run
// the server and nothing demands it, and fails otherwise.
func Need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, devstack.ErrUnavailable) && !required():
		t.Skipf("NOT TESTED: %v", err)
	default:
		t.Fatal(err)
	}
}

func required() bool {
	return os.Getenv("CI") == "true" || os.Getenv("TICKCONNECT_REQUIRE") == "1"
}

// uniqueName returns a name for something that belongs to this test alone, made
// of lower-case letters, digits and separators, at most 48 bytes long.
func uniqueName(t testing.TB, separator string) string {
	name := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToLower(t.Name()))
	name = strings.ReplaceAll(name, "_", separator)
	return "t" + separator + name[:min(len(name), 32)] + separator + strings.ToLower(rand.Text()[:12])
}
