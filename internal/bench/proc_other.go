//go:build !linux

package main

import (
	"errors"
	"os/exec"
	"time"
)

var errNotLinux = errors.New("the benchmarks read /proc, which only Linux has")

func endWithUs(*exec.Cmd) {}

func freezeTree(int) error                   { return errNotLinux }
func thawTree(int) error                     { return errNotLinux }
func processCPU(int) (time.Duration, error)  { return 0, errNotLinux }
func cpuWithDead(int) (time.Duration, error) { return 0, errNotLinux }
func treeCPU(int) (time.Duration, error)     { return 0, errNotLinux }
func machineBusy() (time.Duration, error)    { return 0, errNotLinux }
func peakRSS(int) (int64, error)             { return 0, errNotLinux }
func loadAverage() float64                   { return -1 }
func cpuModel() string                       { return "unknown CPU" }
