package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"github.com/qicore/tickconnect/internal/devstack"
)

// demoStack is what the demo's connector talks to: servers that it started, or
// those that the flags name.
type demoStack struct {
	dir         string
	brokers     []string
	databaseURL string
	log         *os.File // the connector's log

	broker   *devstack.Broker   // nil where --brokers names others
	database *devstack.Database // nil where --database-url names another
}

// startDemoStack starts both servers at once, and says on the screen what takes
// its time.
func startDemoStack(ctx context.Context, o demoOptions, dir string, s *screen) (*demoStack, error) {
	d := &demoStack{dir: dir, brokers: o.brokers, databaseURL: o.databaseURL}
	var err error
	if d.log, err = os.OpenFile(filepath.Join(dir, "connector.log"), os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
		return nil, fmt.Errorf("opening the connector's log: %w", err)
	}
	var starting sync.WaitGroup
	var brokerErr, databaseErr error
	if len(o.brokers) == 0 {
		starting.Go(func() {
			d.broker, brokerErr = devstack.StartBroker(ctx, devstack.BrokerOptions{Dir: filepath.Join(dir, "broker")})
		})
	}
	if o.databaseURL == "" {
		starting.Go(func() {
			d.database, databaseErr = devstack.StartDatabase(ctx, devstack.DatabaseOptions{
				Dir: filepath.Join(dir, "database"),
				Progress: func(p devstack.Progress) {
					if p.Total > 0 {
						s.progress("%s: %d of %d MB", p.Step, p.Done>>20, p.Total>>20)
					} else {
						s.progress("%s", p.Step)
					}
				},
			})
		})
	}
	starting.Wait()
	s.progressDone()
	if err := cmp.Or(brokerErr, databaseErr); err != nil {
		return nil, errors.Join(err, d.close())
	}

	if d.broker != nil {
		d.brokers = d.broker.Brokers()
		s.fact("broker", "in this process on %s, its log in %s", strings.Join(d.brokers, ", "), filepath.Join(dir, "broker"))
	} else {
		s.fact("broker", "%s", strings.Join(d.brokers, ", "))
	}
	if d.database != nil {
		d.databaseURL = d.database.URL()
		s.fact("database", "a private TimescaleDB on 127.0.0.1:%d, its data in %s", d.database.Port(), filepath.Join(dir, "database"))
	} else {
		s.fact("database", "%s", withoutPassword(d.databaseURL))
	}
	return d, nil
}

// close ends the servers that were started.
func (d *demoStack) close() error {
	var errs []error
	if d.database != nil {
		errs = append(errs, d.database.Close())
	}
	if d.broker != nil {
		errs = append(errs, d.broker.Close())
	}
	return errors.Join(append(errs, d.log.Close())...)
}

// load makes the configuration that connector run would read from a file. The
// file is private, and gone once it is read: it may hold a password.
func (d *demoStack) load(topics []string) (*loaded, error) {
	text, err := json.Marshal(map[string]any{
		"bootstrap.servers": strings.Join(d.brokers, ","),
		"group.instance.id": "connector-demo",
		// Any free port, so that a connector that runs here already is in nobody's way.
		"listeners": "http://127.0.0.1:0",
		"connectors": map[string]any{
			demoConnector: map[string]string{
				"connector.class": "timescale-sink",
				"topics":          strings.Join(topics, ","),
				"connection.url":  d.databaseURL,
			},
		},
	})
	if err != nil {
		return nil, err
	}
	f, err := os.CreateTemp(d.dir, "connector-*.yaml") // JSON is YAML
	if err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err := errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("writing the configuration: %w", err)
	}
	return load(f.Name())
}

// psql is the command that opens the database for people. It holds the password
// of the private database alone.
func (d *demoStack) psql() string {
	text := d.databaseURL
	if d.database == nil {
		text = withoutPassword(text)
	}
	quoted := "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
	if _, err := exec.LookPath("psql"); err == nil {
		return "psql " + quoted
	}
	if own := privatePsql(); own != "" {
		return own + " " + quoted
	}
	return "psql " + quoted + "   (psql is missing: apt-get install postgresql-client)"
}

// privatePsql is the program among those that were fetched for the private
// database, or "".
func privatePsql() string {
	cache, err := devstack.CacheDir()
	if err != nil {
		return ""
	}
	found, err := filepath.Glob(filepath.Join(cache, "timescaledb", "postgresql-*", "usr", "lib", "postgresql", "*", "bin", "psql"))
	if err != nil || len(found) == 0 {
		return ""
	}
	return found[len(found)-1]
}

// withoutPassword is the URL of a database as it may be shown.
func withoutPassword(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return "the URL that --database-url names"
	}
	if u.User != nil {
		u.User = url.User(u.User.Username())
	}
	query := u.Query()
	query.Del("password")
	query.Del("sslpassword")
	u.RawQuery = query.Encode()
	return u.String()
}
