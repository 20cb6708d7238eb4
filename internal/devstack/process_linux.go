package devstack

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

func isolate(cmd *exec.Cmd, as account, onDeath os.Signal) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if sig, ok := onDeath.(syscall.Signal); ok {
		cmd.SysProcAttr.Pdeathsig = sig
	}
	if as.other {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: as.uid, Gid: as.gid}
	}
}

func freeze(p *os.Process) {
	p.Signal(syscall.SIGSTOP) //nolint:errcheck // it may have ended by itself
}

// serverProgram matches what our servers are, as the kernel names it. The
// fetched PostgreSQL runs under its own loader.
var serverProgram = regexp.MustCompile(`^(postgres|ld-linux.*|java)( \(deleted\))?$`)

// processesIn returns the ids of the living server processes whose working
// folder is dir or lies in it. A PostgreSQL server and all its children work in
// the data folder; so may somebody's shell, which is none of ours.
func processesIn(dir string) []int {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil
	}
	links, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil
	}
	var pids []int
	for _, link := range links {
		cwd, err := os.Readlink(link)
		if err != nil || (cwd != dir && !strings.HasPrefix(cwd, dir+"/")) {
			continue
		}
		program, err := os.Readlink(filepath.Join(filepath.Dir(link), "exe"))
		if err != nil || !serverProgram.MatchString(filepath.Base(program)) {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(link, "/")[2])
		if err == nil && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// zombie tells whether the process is dead and only waits for its parent.
func zombie(pid int) bool {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return true
	}
	_, rest, ok := bytes.Cut(stat, []byte(") "))
	return !ok || bytes.HasPrefix(rest, []byte("Z")) || bytes.HasPrefix(rest, []byte("X"))
}
