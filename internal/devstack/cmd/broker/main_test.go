package main

import (
	"bufio"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/internal/devstack"
)

func TestRunsUntilItsInputEnds(t *testing.T) {
	t.Parallel()
	in, closeIn := io.Pipe()
	out, to := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(t.Context(), devstack.BrokerOptions{Brokers: 2}, in, to) }()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	brokers := strings.Split(strings.TrimSpace(line), ",")
	if len(brokers) != 2 {
		t.Fatalf("the first line is %q, want two brokers", line)
	}
	ping := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		client, err := kgo.NewClient(kgo.SeedBrokers(brokers...))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		return client.Ping(ctx)
	}
	if err := ping(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		t.Fatalf("it ended early: %v", err)
	default:
	}
	closeIn.Close() //nolint:errcheck // never fails
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end with its input")
	}
}

func TestEndsWithItsContext(t *testing.T) {
	t.Parallel()
	in, _ := io.Pipe() // never ends
	ctx, cancel := context.WithCancel(t.Context())
	out, to := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, devstack.BrokerOptions{Dir: t.TempDir()}, in, to) }()
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end with its context")
	}
}
