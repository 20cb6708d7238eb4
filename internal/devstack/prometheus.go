package devstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

// PrometheusOptions says what a private Prometheus scrapes and evaluates.
type PrometheusOptions struct {
	// Cache keeps the fetched server; empty means CacheDir.
	Cache string
	// Config is prometheus.yml. Paths in it are taken from the folder of Files.
	Config string
	// Files lie beside prometheus.yml, by their names: rules, targets.
	Files map[string]string
	// Progress, if set, is called while the start takes its time.
	Progress func(Progress)
}

// Prometheus is a private Prometheus, on 127.0.0.1 only, that keeps its data in a
// temporary folder until Close.
type Prometheus struct {
	dir    string
	port   int
	lock   *fileLock
	server *process
}

const prometheusBin = "usr/bin"

// findPrometheus returns the folder of the programs prometheus and promtool,
// which are fetched at the first time.
func findPrometheus(ctx context.Context, cache string, progress func(Progress)) (string, error) {
	if runtime.GOOS != "linux" {
		return "", unavailable("a private Prometheus needs Linux: use that of deploy/compose")
	}
	cache, err := openCache(cache, "prometheus")
	if err != nil {
		return "", err
	}
	prefix, err := fetchOnce(ctx, cache, "prometheus-"+fetchedRelease, progress, func(dir string) error {
		return fetchServer(ctx, dir, server{"Prometheus", "prometheus", prometheusBin, "prometheus"}, progress)
	})
	if err != nil {
		return "", err
	}
	return filepath.Join(prefix, prometheusBin), nil
}

// Promtool returns the path of Prometheus' own tool, of the version that
// StartPrometheus runs. An empty cache means CacheDir. The error is ErrUnavailable
// where it cannot be fetched.
func Promtool(ctx context.Context, cache string, progress func(Progress)) (string, error) {
	bin, err := findPrometheus(ctx, cache, progress)
	return filepath.Join(bin, "promtool"), err
}

// StartPrometheus starts a Prometheus and waits until it answers. The error is
// ErrUnavailable where it cannot be fetched. ctx bounds the start only.
func StartPrometheus(ctx context.Context, opts PrometheusOptions) (*Prometheus, error) {
	bin, err := findPrometheus(ctx, opts.Cache, opts.Progress)
	if err != nil {
		return nil, err
	}
	dir, lock, err := openData("", "prometheus")
	if err != nil {
		return nil, err
	}
	p := &Prometheus{dir: dir, lock: lock}
	if err := p.start(ctx, filepath.Join(bin, "prometheus"), opts); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *Prometheus) start(ctx context.Context, program string, opts PrometheusOptions) error {
	for name, content := range opts.Files {
		if err := p.Write(name, content); err != nil {
			return err
		}
	}
	if err := p.Write("prometheus.yml", opts.Config); err != nil {
		return err
	}
	var err error
	// Another program may take a free port before the server does.
	for range 3 {
		if p.port, err = freePort(ctx); err != nil {
			return err
		}
		if err = p.tryStart(ctx, program); err == nil || ctx.Err() != nil {
			return err
		}
	}
	return err
}

func (p *Prometheus) tryStart(ctx context.Context, program string) error {
	cmd := exec.Command(program, "--config.file=prometheus.yml", "--storage.tsdb.path="+p.data(),
		fmt.Sprintf("--web.listen-address=127.0.0.1:%d", p.port), "--storage.tsdb.retention.time=1d")
	cmd.Dir, cmd.Env = p.dir, serverEnv()
	server, err := startProcess(cmd, account{}, os.Kill, p.logFile())
	if err != nil {
		return err
	}
	if err := p.waitReady(ctx, server); err != nil {
		server.kill()
		return fmt.Errorf("starting Prometheus: %w; %s ends with:\n%s", err, p.logFile(), logTail(p.logFile()))
	}
	p.server = server
	return nil
}

func (p *Prometheus) data() string    { return filepath.Join(p.dir, "data") }
func (p *Prometheus) logFile() string { return filepath.Join(p.dir, "server.log") }

// URL is where the server answers.
func (p *Prometheus) URL() string { return fmt.Sprintf("http://127.0.0.1:%d", p.port) }

// Write puts a file beside prometheus.yml, as a whole: the server may be reading
// the one before.
func (p *Prometheus) Write(name, content string) error {
	whole := filepath.Join(p.dir, name)
	if err := os.WriteFile(whole+unfinished, []byte(content), 0o644); err != nil {
		return err
	}
	return os.Rename(whole+unfinished, whole)
}

// waitReady waits until the server that answers on the port is this one and takes
// queries.
func (p *Prometheus) waitReady(ctx context.Context, server *process) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var flags struct {
			Data map[string]string `json:"data"`
		}
		body, err := httpGet(ctx, p.URL()+"/api/v1/status/flags")
		if err == nil {
			err = json.Unmarshal(body, &flags)
		}
		// No other server has this folder.
		if dir := flags.Data["storage.tsdb.path"]; err == nil && dir != p.data() {
			return fmt.Errorf("port %d belongs to another server, with its data in %q", p.port, dir)
		}
		if err == nil {
			if _, err = httpGet(ctx, p.URL()+"/-/ready"); err == nil {
				return nil
			}
		}
		select {
		case <-server.done:
			return fmt.Errorf("it ended: %s", server.cmd.ProcessState)
		case <-ctx.Done():
			return fmt.Errorf("%w: last answer: %w", ctx.Err(), err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func httpGet(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s", url, resp.Status)
	}
	return body, err
}

// Close ends the server and removes its data. The error says that it had ended by
// itself before.
func (p *Prometheus) Close() error {
	var err error
	if p.server != nil {
		if !p.server.alive() {
			err = fmt.Errorf("Prometheus had ended: %s; its log ends with:\n%s", p.server.cmd.ProcessState, logTail(p.logFile()))
		} else if p.server.end(context.Background(), syscall.SIGTERM, 5*time.Second) != nil {
			p.server.kill()
		}
	}
	p.lock.release()
	return errors.Join(err, os.RemoveAll(p.dir))
}
