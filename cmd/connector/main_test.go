package main

import (
	"os"
	"testing"

	"github.com/qicore/tickconnect/internal/devstack/testenv"
)

// runAsConnector makes the test binary the connector itself, for tests that
// need a process of its own.
const runAsConnector = "CONNECTOR_TEST_RUN"

func TestMain(m *testing.M) {
	if os.Getenv(runAsConnector) == "1" {
		main()
	}
	testenv.Main(m)
}
