package main

import (
	"os/exec"
	"runtime"
)

// startAndWait starts a program and waits for its end. The kernel takes "the
// parent dies" as "the thread that started the child ends": locked here, the
// thread lives as long as the child.
func startAndWait(cmd *exec.Cmd, started chan<- error, done chan<- struct{}) {
	runtime.LockOSThread()
	err := cmd.Start()
	started <- err
	if err == nil {
		cmd.Wait() //nolint:errcheck // the exit is in cmd.ProcessState
	}
	close(done)
}
