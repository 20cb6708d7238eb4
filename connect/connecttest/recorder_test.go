package connecttest

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// recorder is a testing.TB that keeps what a case reports instead of failing
// the test that runs it.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failed   bool
	skipped  bool
	messages []string
	cleanups []func()
}

// record runs one case of the suite against a target and gives its report.
func record(t testing.TB, c testCase, target Target) *recorder {
	t.Helper()
	r := &recorder{TB: t}
	run := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			f()
		}()
		<-done
	}
	run(func() { c.run(newFixture(r, target)) })
	for _, f := range slices.Backward(r.cleanups) {
		run(f)
	}
	return r
}

func (r *recorder) report(failed bool, message string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = r.failed || failed
	r.messages = append(r.messages, strings.TrimSpace(message))
}

func (r *recorder) Helper()                        {}
func (r *recorder) Log(args ...any)                { r.report(false, fmt.Sprintln(args...)) }
func (r *recorder) Logf(format string, a ...any)   { r.report(false, fmt.Sprintf(format, a...)) }
func (r *recorder) Error(args ...any)              { r.report(true, fmt.Sprintln(args...)) }
func (r *recorder) Errorf(format string, a ...any) { r.report(true, fmt.Sprintf(format, a...)) }
func (r *recorder) Fail()                          { r.report(true, "") }

func (r *recorder) FailNow() {
	r.Fail()
	runtime.Goexit()
}

func (r *recorder) Fatal(args ...any) {
	r.Error(args...)
	runtime.Goexit()
}

func (r *recorder) Fatalf(format string, a ...any) {
	r.Errorf(format, a...)
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

func (r *recorder) SkipNow() {
	r.mu.Lock()
	r.skipped = true
	r.mu.Unlock()
	runtime.Goexit()
}

func (r *recorder) Skip(args ...any) {
	r.Log(args...)
	r.SkipNow()
}

func (r *recorder) Skipf(format string, a ...any) {
	r.Logf(format, a...)
	r.SkipNow()
}

func (r *recorder) Skipped() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.skipped
}

func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }
