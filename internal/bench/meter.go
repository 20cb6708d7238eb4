package main

import (
	"os"
	"runtime"
	"time"
)

// meter measures what processes use between its start and its reading.
type meter struct {
	began  time.Time
	busy   time.Duration
	self   time.Duration
	groups map[string]cpuOf
	before map[string]time.Duration
}

// cpuOf reads the CPU time of a process or of several.
type cpuOf func() (time.Duration, error)

// reading is what a meter shows.
type reading struct {
	wall time.Duration
	cpu  map[string]time.Duration
	self time.Duration // of this process
	// foreign is the share of the machine, 0 to 1, that was used by neither the
	// metered processes nor this one.
	foreign float64
	load    float64
}

// startMeter begins. The groups must not share a process.
func startMeter(groups map[string]cpuOf) (*meter, error) {
	m := &meter{groups: groups, before: map[string]time.Duration{}}
	var err error
	if m.self, err = selfCPU(); err != nil {
		return nil, err
	}
	for name, cpu := range groups {
		if m.before[name], err = cpu(); err != nil {
			return nil, err
		}
	}
	if m.busy, err = machineBusy(); err != nil {
		return nil, err
	}
	m.began = time.Now()
	return m, nil
}

// read reads the meter; the processes must still run.
func (m *meter) read() (reading, error) {
	r := reading{wall: time.Since(m.began), cpu: map[string]time.Duration{}, load: loadAverage()}
	busy, err := machineBusy()
	if err != nil {
		return r, err
	}
	self, err := selfCPU()
	if err != nil {
		return r, err
	}
	r.self = self - m.self
	ours := r.self
	for name, cpu := range m.groups {
		now, err := cpu()
		if err != nil {
			return r, err
		}
		r.cpu[name] = now - m.before[name]
		ours += r.cpu[name]
	}
	capacity := float64(r.wall) * float64(runtime.NumCPU())
	r.foreign = max(0, float64(busy-m.busy-ours)/capacity)
	return r, nil
}

// selfCPU is what this process has used, and its children that ended.
func selfCPU() (time.Duration, error) {
	return cpuWithDead(os.Getpid())
}

// cpu reads a program that we started.
func (c *child) cpu() (time.Duration, error) { return processCPU(c.pid()) }

// databaseCPU reads all processes of the database.
func (s *stack) databaseCPU() (time.Duration, error) { return treeCPU(s.server) }
