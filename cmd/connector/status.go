package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/spf13/cobra"
)

// overview is all of a deployment, as one replica sees it.
type overview struct {
	Version    string         `json:"version"`
	Cluster    string         `json:"kafka_cluster_id"`
	Health     string         `json:"health"`
	Connectors []statusAnswer `json:"connectors"`
	topics     map[string]string
}

func newStatusCommand() *cobra.Command {
	f := &restFlags{}
	var watch bool
	var every time.Duration
	cmd := f.command("status", "Show the whole deployment in one screen", cobra.NoArgs,
		func(ctx context.Context, c *restClient, out io.Writer, _ []string) error {
			o, err := c.overview(ctx)
			if err != nil {
				return err
			}
			if f.form == outputJSON {
				err = printJSON(out, o)
			} else {
				err = o.print(out)
			}
			if err == nil && !o.good() {
				err = errUntrue
			}
			return err
		})
	once := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !watch {
			return once(cmd, args)
		}
		if f.form == outputJSON || every < 100*time.Millisecond {
			return fmt.Errorf("--watch: it is for people, and at least every 100ms")
		}
		c, err := f.client()
		if err != nil {
			return err
		}
		return c.watch(cmd.Context(), cmd.OutOrStdout(), every, f.timeout)
	}
	cmd.Long = "Show the whole deployment in one screen, as one replica sees it: connectors, tasks, replicas, and what is wrong. The exit\n" +
		"code is 0 only when that replica is healthy, nothing has failed and nothing is unassigned."
	f.add(cmd)
	cmd.Flags().BoolVarP(&watch, "watch", "w", false, "show it again and again, until Ctrl-C")
	cmd.Flags().DurationVar(&every, "interval", 2*time.Second, "how often, with --watch")
	return cmd
}

// watch draws the screen anew until ctx ends. A replica that is away is waited for.
func (c *restClient) watch(ctx context.Context, out io.Writer, every, timeout time.Duration) error {
	const home = "\x1b[H\x1b[2J"
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		limited, cancel := context.WithTimeout(ctx, timeout)
		o, err := c.overview(limited)
		cancel()
		var screen bytes.Buffer
		fmt.Fprintf(&screen, "%sEvery %s: %s\n\n", home, every, time.Now().Format(time.TimeOnly))
		if err != nil {
			fmt.Fprintln(&screen, err)
		} else if err := o.print(&screen); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		if _, err := out.Write(screen.Bytes()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (c *restClient) overview(ctx context.Context) (*overview, error) {
	o := &overview{topics: map[string]string{}, Connectors: []statusAnswer{}}
	if err := c.do(ctx, http.MethodGet, "/", nil, o); err != nil {
		return nil, err
	}
	var health struct {
		Status  string `json:"status"`
		Message string `json:"message"`
	}
	if err := c.health(ctx, &health); err != nil {
		return nil, err
	}
	o.Health = health.Status
	if health.Status != "healthy" {
		o.Health += ": " + health.Message
	}
	all, names, err := c.all(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		o.Connectors = append(o.Connectors, all[name].Status)
		o.topics[name] = topicsOf(all[name].Info.Config)
	}
	return o, nil
}

func (o *overview) good() bool {
	for i := range o.Connectors {
		if !o.Connectors[i].good() {
			return false
		}
	}
	return o.Health == "healthy"
}

func (o *overview) print(out io.Writer) error {
	fmt.Fprintf(out, "version %s, cluster %s, %s\n\n", o.Version, o.Cluster, o.Health)
	if len(o.Connectors) == 0 {
		fmt.Fprintln(out, noConnector)
		return nil
	}
	err := printTable(out, func(w io.Writer) {
		fmt.Fprintln(w, "connector\tstate\ttasks\treplicas\ttopics")
		for i := range o.Connectors {
			s := &o.Connectors[i]
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", s.Name, s.Connector.State, taskSummary(s), replicasOf(s), o.topics[s.Name])
		}
	})
	for i := range o.Connectors {
		if s := &o.Connectors[i]; !s.good() {
			fmt.Fprintln(out)
			if err := s.print(out); err != nil {
				return err
			}
		}
	}
	return err
}
