package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/lovoo/goka"
)

// nullRun is what a goka processor measured that stores nothing.
type nullRun struct {
	Seconds float64 `json:"seconds"`
	CPU     float64 `json:"cpuSeconds"` // of the whole process up to then
}

// rawCodec leaves values as they are.
type rawCodec struct{}

func (rawCodec) Decode(data []byte) (any, error) { return data, nil }
func (rawCodec) Encode(value any) ([]byte, error) {
	return nil, fmt.Errorf("nothing is written: %T", value)
}

// quiet swallows what goka logs.
type quiet struct{}

func (quiet) Print(...any)          {}
func (quiet) Println(...any)        {}
func (quiet) Printf(string, ...any) {}

// gokaNull consumes n records with a stock goka processor, counts them, and
// prints a nullRun. It is run in a process of its own.
func gokaNull(ctx context.Context, brokers, topic, group string, n int64, out io.Writer) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conf := goka.DefaultConfig()
	conf.Consumer.Offsets.Initial = sarama.OffsetOldest
	goka.ReplaceGlobalConfig(conf)
	var seen atomic.Int64
	var began atomic.Pointer[time.Time]
	done := make(chan nullRun, 1)
	count := func(goka.Context, any) {
		if seen.Load() == 0 {
			now := time.Now()
			began.CompareAndSwap(nil, &now)
		}
		if seen.Add(1) == n {
			cpu, err := processCPU(os.Getpid())
			if err != nil {
				slog.Error("reading the CPU time", "err", err)
			}
			done <- nullRun{time.Since(*began.Load()).Seconds(), cpu.Seconds()}
		}
	}
	p, err := goka.NewProcessor(strings.Split(brokers, ","),
		goka.DefineGroup(goka.Group(group), goka.Input(goka.Stream(topic), rawCodec{}, count)), goka.WithLogger(quiet{}))
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	select {
	case r := <-done:
		return json.NewEncoder(out).Encode(r)
	case err := <-ended:
		return errors.Join(errors.New("the processor ended"), err)
	}
}
