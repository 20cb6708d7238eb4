package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// endWithUs has the kernel kill the process when ours dies.
func endWithUs(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// signalTree sends a signal to a process and its children, the parent first so
// that it starts no others.
func signalTree(pid int, sig syscall.Signal) error {
	errs := []error{syscall.Kill(pid, sig)}
	for _, child := range childrenOf(pid) {
		if err := syscall.Kill(child, sig); !errors.Is(err, syscall.ESRCH) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// freezeTree stops a process and its children in their tracks; thawTree has them
// go on.
func freezeTree(pid int) error { return signalTree(pid, syscall.SIGSTOP) }
func thawTree(pid int) error   { return signalTree(pid, syscall.SIGCONT) }

// clockTick is the unit of the CPU times in /proc: USER_HZ, 100 on every Linux.
const clockTick = 10 * time.Millisecond

// processTimes are the fields of /proc/<pid>/stat that we need.
type processTimes struct {
	parent    int
	own, dead time.Duration // CPU of the process, and of its children that ended and were waited for
}

func parseStat(stat string) (processTimes, error) {
	// The name, in parentheses, may hold anything.
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(f) < 15 {
		return processTimes{}, fmt.Errorf("not the stat of a process: %q", stat)
	}
	var n [5]int64
	for i, field := range []int{1, 11, 12, 13, 14} {
		var err error
		if n[i], err = strconv.ParseInt(f[field], 10, 64); err != nil {
			return processTimes{}, err
		}
	}
	return processTimes{int(n[0]), time.Duration(n[1]+n[2]) * clockTick, time.Duration(n[3]+n[4]) * clockTick}, nil
}

func timesOf(pid int) (processTimes, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return processTimes{}, err
	}
	return parseStat(string(stat))
}

func childrenOf(pid int) []int {
	paths, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil
	}
	var out []int
	for _, path := range paths {
		child, err := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue
		}
		if t, err := timesOf(child); err == nil && t.parent == pid {
			out = append(out, child)
		}
	}
	return out
}

// processCPU is what the process itself has used.
func processCPU(pid int) (time.Duration, error) {
	t, err := timesOf(pid)
	return t.own, err
}

// cpuWithDead is what the process has used, and its children that ended.
func cpuWithDead(pid int) (time.Duration, error) {
	t, err := timesOf(pid)
	return t.own + t.dead, err
}

// treeCPU is what the process and its children have used, those that ended
// included. A child that ends meanwhile would be in neither: then it looks again.
func treeCPU(pid int) (time.Duration, error) {
	for {
		before, err := timesOf(pid)
		if err != nil {
			return 0, err
		}
		total := before.own + before.dead
		for _, child := range childrenOf(pid) {
			if t, err := timesOf(child); err == nil { // it may just have ended
				total += t.own + t.dead
			}
		}
		after, err := timesOf(pid)
		if err != nil || after.dead == before.dead {
			return total, err
		}
	}
}

// machineBusy is what all CPUs of the machine have worked since it started.
func machineBusy() (time.Duration, error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(stat), "\n")
	f := strings.Fields(line)
	if len(f) < 9 || f[0] != "cpu" {
		return 0, fmt.Errorf("not the stat of a machine: %q", line)
	}
	var ticks int64
	for i, field := range f[1:9] {
		if i == 3 || i == 4 { // idle, iowait
			continue
		}
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// peakRSS is the most memory that the process has had at once, in bytes.
func peakRSS(pid int) (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	return parsePeak(string(status))
}

func parsePeak(status string) (int64, error) {
	_, rest, ok := strings.Cut(status, "VmHWM:")
	kib, _, unit := strings.Cut(strings.TrimSpace(rest), " kB")
	if !ok || !unit {
		return 0, errors.New("the kernel tells no VmHWM")
	}
	n, err := strconv.ParseInt(kib, 10, 64)
	return n << 10, err
}

func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return -1
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return -1
	}
	return load
}

func cpuModel() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown CPU"
	}
	_, rest, _ := strings.Cut(string(text), "model name")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), ":"))
}
