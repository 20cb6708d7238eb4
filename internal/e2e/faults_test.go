package e2e

import (
	"regexp"
	"strings"
	"testing"
)

var (
	// access is one of the two accesses of a data race, with its stack.
	access = regexp.MustCompile(`(?m) by (?:main )?goroutine.*:\n((?:\s*\S+\(\)\n\s+/.*\n?)+)`)
	// frame is a function outside the standard library, on a line of its own.
	frame = regexp.MustCompile(`(?m)^\s*((?:[\w-]+\.)+\w+/\S+|main\.\S+)\(\)$`)
)

const raceSign = "WARNING: DATA RACE"

// faultIn finds what a log must never hold: a panic, or a data race of our code.
// A race between two lines of a library is left out: sarama has one when it
// connects again.
func faultIn(log string) string {
	for _, sign := range []string{"panic: ", "fatal error: "} {
		if at := strings.Index("\n"+log, "\n"+sign); at >= 0 {
			return log[at:]
		}
	}
	for _, report := range strings.Split(log, raceSign)[1:] {
		report, _, _ = strings.Cut(report, "==================")
		accesses := access.FindAllStringSubmatch(report, -1)
		for _, a := range accesses {
			f := frame.FindStringSubmatch(a[1])
			if f == nil || strings.HasPrefix(f[1], "github.com/qicore/tickconnect/") || strings.HasPrefix(f[1], "main.") {
				return raceSign + report
			}
		}
		if len(accesses) == 0 {
			return raceSign + report
		}
	}
	return ""
}

// TestFaultIn: races are told apart by the code that touches the memory.
func TestFaultIn(t *testing.T) {
	t.Parallel()
	report := func(writer, reader string) string {
		return "time=... level=INFO\n==================\nWARNING: DATA RACE\nWrite at 0x00c0002c9ca8 by goroutine 428:\n" + writer +
			"\nPrevious read at 0x00c0002c9ca8 by main goroutine:\n" + reader +
			"\nGoroutine 428 (running) created at:\n  github.com/qicore/tickconnect/x.y()\n      /src/x.go:1 +0x1\n==================\ntime=...\n"
	}
	const (
		sarama = "  github.com/IBM/sarama.(*Broker).Open.func1()\n      /home/a/go/pkg/mod/github.com/!i!b!m/sarama@v1.46.3/broker.go:205 +0xd0b\n" +
			"  github.com/qicore/tickconnect/connectors/redpanda-source.(*group).Consume()\n      /src/group.go:83 +0x307\n"
		ours    = "  github.com/qicore/tickconnect/connectors/redpanda-source.(*Source).sizeFetches()\n      /src/source.go:275 +0xa4\n"
		through = "  runtime.mapaccess1_fast64()\n      /usr/local/go/src/runtime/map.go:1 +0x1\n  sync.(*Pool).Get()\n      /usr/local/go/src/sync/pool.go:1 +0x1\n" + ours
		command = "  main.(*process).run()\n      /src/cmd/connector/process.go:1 +0x1\n"
	)
	for name, test := range map[string]struct {
		log   string
		fault bool
	}{
		"nothing":                  {"time=... level=INFO msg=serving\n", false},
		"a library alone":          {report(sarama, sarama), false},
		"ours":                     {report(ours, sarama), true},
		"ours as the second":       {report(sarama, ours), true},
		"ours through the library": {report(through, sarama), true},
		"the command's":            {report(command, sarama), true},
		"the second report":        {report(sarama, sarama) + report(ours, ours), true},
		"unreadable":               {"WARNING: DATA RACE\nsomething else\n", true},
		"a panic":                  {"time=...\npanic: oh\n\ngoroutine 1 [running]:\n", true},
		"a panic at once":          {"panic: oh\n", true},
		"a word of a message":      {"time=... err=\"panic: oh\"\n", false},
	} {
		if got := faultIn(test.log); (got != "") != test.fault {
			t.Errorf("%s: found %q", name, got)
		}
	}
}
