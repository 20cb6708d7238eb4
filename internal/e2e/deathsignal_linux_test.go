package e2e

import (
	"os/exec"
	"syscall"
)

// dieWithUs has the kernel kill the process when the thread that starts it ends.
func dieWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
