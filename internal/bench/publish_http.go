package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"
)

const (
	httpBatch   = 500 // records of one request
	httpClients = 8   // that send one request after the other
)

// startIngest starts the connector with nothing but the HTTP ingest.
func (p *publishing) startIngest(ctx context.Context) (*child, string, error) {
	path := filepath.Join(p.dir, "ingest.yaml")
	text := fmt.Sprintf("bootstrap.servers: %s\nlisteners: http://127.0.0.1:0\npublish.listeners: http://127.0.0.1:0\n", p.brokers)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return nil, "", err
	}
	c, err := p.start("ingest", nil, p.connector, "run", "-c", path)
	if err != nil {
		return nil, "", err
	}
	serving := regexp.MustCompile(`serving ingest.*listeners=(\S+)`)
	for deadline := time.Now().Add(stopTimeout); time.Now().Before(deadline); {
		log, err := os.ReadFile(c.log)
		if err != nil {
			c.kill()
			return nil, "", err
		}
		if m := serving.FindSubmatch(log); m != nil {
			return c, strings.TrimSuffix(string(m[1]), "/") + "/publish/price", nil
		}
		if err := c.failed(); err != nil {
			return nil, "", err
		}
		if !sleep(ctx, 20*time.Millisecond) {
			break
		}
	}
	c.kill()
	return nil, "", fmt.Errorf("the ingest does not say where it listens: %s", logTail(c.log))
}

// http publishes all records in requests of NDJSON.
func (p *publishing) http(ctx context.Context, ingest *child, url string) (float64, reading, error) {
	m, err := startMeter(map[string]cpuOf{"broker": p.broker.cpu, "ingest": ingest.cpu})
	if err != nil {
		return 0, reading{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	batches := make(chan [][]byte)
	var failed firstError
	var senders sync.WaitGroup
	for range httpClients {
		senders.Go(func() {
			for values := range batches {
				if err := post(ctx, url, append(bytes.Join(values, []byte("\n")), '\n')); err != nil {
					failed.set(err)
					cancel()
					return
				}
			}
		})
	}
	for from := 0; from < len(p.values); from += httpBatch {
		select {
		case batches <- p.values[from:min(from+httpBatch, len(p.values))]:
		case <-ctx.Done():
		}
	}
	close(batches)
	senders.Wait()
	if err := failed.get(); err != nil {
		return 0, reading{}, err
	}
	r, err := m.read()
	return float64(p.records) / r.wall.Seconds(), r, err
}

func post(ctx context.Context, url string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-ndjson")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", resp.Status, answer)
	}
	return err
}
