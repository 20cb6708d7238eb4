package devstack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"time"
)

// process is a server that we started.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
}

// startProcess runs cmd in a process group of its own, so that a Ctrl-C in the
// terminal reaches us and not the server, as the given account, and with its
// output in the file log. On Linux the server gets the signal onDeath when our
// process dies, even by SIGKILL.
func startProcess(cmd *exec.Cmd, as account, onDeath os.Signal, log string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	isolate(cmd, as, onDeath)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		// The kernel takes "our process dies" as "the thread that started the
		// child ends". Locked here, and never unlocked, the thread lives exactly
		// as long as this goroutine, which outlives the child.
		runtime.LockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() //nolint:errcheck // the exit is in cmd.ProcessState
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// end sends the signal and waits until the process has ended, within patience,
// or less when ctx ends. The error says that it still runs.
func (p *process) end(ctx context.Context, sig os.Signal, patience time.Duration) error {
	if p.alive() {
		p.cmd.Process.Signal(sig) //nolint:errcheck // it may have ended by itself
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
		return fmt.Errorf("it still runs after %v", patience)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// kill ends the process at once and waits until it is gone.
func (p *process) kill() {
	p.cmd.Process.Kill() //nolint:errcheck // it may have ended by itself
	<-p.done
}

// output runs a tool to its end, as the given account, and returns what it said.
// On Linux the tool dies with us.
func output(cmd *exec.Cmd, as account) ([]byte, error) {
	runtime.LockOSThread() // as in startProcess
	defer runtime.UnlockOSThread()
	isolate(cmd, as, os.Kill)
	return cmd.CombinedOutput()
}

// killAll kills every server process that works in dir, as a power cut would.
// The parent of them all, where it is given, is frozen first, so that it can
// neither start others nor tell them.
func killAll(dir string, parent *os.Process) error {
	if parent != nil {
		freeze(parent)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		pids := processesIn(dir)
		if parent != nil && !slices.Contains(pids, parent.Pid) {
			parent.Kill() //nolint:errcheck // it may have ended by itself
		}
		for _, pid := range pids {
			if proc, err := os.FindProcess(pid); err == nil {
				proc.Kill() //nolint:errcheck // it may have ended by itself
			}
		}
		if len(pids) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("processes %v in %s do not end", pids, dir)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
