package main

import (
	"os"
	"testing"
	"time"
)

func TestParseStat(t *testing.T) {
	t.Parallel()
	got, err := parseStat("42 (a) b (c) S 7 42 42 0 -1 4194560 1 2 3 4 150 50 30 20 20 0 9 0 100")
	if err != nil || got != (processTimes{7, 2 * time.Second, 500 * time.Millisecond}) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := parseStat("42 (x) S 7"); err == nil {
		t.Error("a short line is taken")
	}
}

func TestParsePeak(t *testing.T) {
	t.Parallel()
	got, err := parsePeak("VmPeak:\t 1 kB\nVmHWM:\t   2048 kB\nVmRSS:\t 3 kB\n")
	if err != nil || got != 2<<20 {
		t.Errorf("%d, %v", got, err)
	}
	if _, err := parsePeak("VmRSS:\t 3 kB\n"); err == nil {
		t.Error("a status without a peak is taken")
	}
}

// TestOwnProcess: the figures of this very process are plausible.
func TestOwnProcess(t *testing.T) {
	t.Parallel()
	peak, err := peakRSS(os.Getpid())
	if err != nil || peak < 1<<20 {
		t.Errorf("peak %d, %v", peak, err)
	}
	before, err := processCPU(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	busy, err := machineBusy()
	if err != nil || busy < before {
		t.Errorf("the machine worked %v, this process %v: %v", busy, before, err)
	}
	deadline := time.Now().Add(30 * time.Second)
	for n := 0; ; n++ {
		after, err := processCPU(os.Getpid())
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("the CPU time stands at %v: %v", after, err)
		}
		if after > before {
			return
		}
	}
}
