package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/qicore/tickconnect/publish/files"
)

// publishAnswer is the answer for programs.
type publishAnswer struct {
	*files.Summary
	Error string `json:"error,omitempty"`
}

const (
	redrawInterval = 200 * time.Millisecond
	lineInterval   = 5 * time.Second // where the screen is no terminal
)

// showProgress shows it until stop is called.
func showProgress(p *files.Publishing, s *screen, loop bool) (stop func()) {
	interval := lineInterval
	if s.terminal {
		interval = redrawInterval
	}
	begun := time.Now()
	end := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				line := progressLine(p.Progress(), time.Since(begun), loop)
				if s.terminal {
					s.redraw(line)
				} else {
					s.write(line + "\n")
				}
			case <-end:
				s.progressDone()
				return
			}
		}
	})
	return func() {
		close(end)
		shown.Wait()
	}
}

// progressLine says how far it has come after some time.
func progressLine(p files.Progress, took time.Duration, loop bool) string {
	var parts []string
	share := -1.0
	if p.Size > 0 {
		share = min(1, float64(p.Read)/float64(p.Size))
		parts = append(parts, fmt.Sprintf("%s %3.0f %%", bar(share, 20), 100*share))
	}
	rate := float64(p.Published) / max(took.Seconds(), 0.001)
	parts = append(parts, grouped(p.Published)+" published", grouped(int64(rate))+" records/s")
	if done, all := p.Read-p.Skipped, p.Size-p.Skipped; share >= 0 && !loop && done > 0 && all > done {
		left := time.Duration(float64(took) * float64(all-done) / float64(done))
		parts = append(parts, left.Round(time.Second).String()+" left")
	}
	if loop {
		parts = append(parts, fmt.Sprintf("pass %d", p.Pass))
	}
	parts = append(parts, grouped(p.Rejected)+" rejected")
	if p.Waiting != "" {
		parts = append(parts, "waiting for the brokers")
	} else if p.File != "" {
		parts = append(parts, p.File)
	}
	return "  " + strings.Join(parts, "   ")
}

// printPublished is the answer for people.
func printPublished(w io.Writer, s *files.Summary) error {
	good := "published"
	if s.DryRun {
		good = "good"
	}
	err := printTable(w, func(w io.Writer) {
		fmt.Fprintf(w, "file\tstate\tlines\t%s\tbefore\trejected\ttopics\n", good)
		for _, f := range s.Files {
			fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Path, f.State, grouped(f.Lines), grouped(f.Published),
				grouped(f.Before+f.Found), grouped(f.Rejected+f.RejectedBefore), topicsText(f.Topics))
		}
	})
	for _, f := range s.Files {
		if f.Rejected > 0 && f.RejectFile != "" {
			fmt.Fprintf(w, "%s: %s rejected; they are kept in %s\n", f.Path, count(int(f.Rejected), "line"), f.RejectFile)
		}
	}
	return err
}

// topicsText names a few topics with their records.
func topicsText(topics map[string]int64) string {
	names := slices.Sorted(maps.Keys(topics))
	var parts []string
	for i, name := range names {
		if i == 3 && len(names) > 4 {
			parts = append(parts, fmt.Sprintf("and %d more", len(names)-i))
			break
		}
		parts = append(parts, fmt.Sprintf("%s %s", name, grouped(topics[name])))
	}
	return strings.Join(parts, ", ")
}
