package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

func newConnectorsCommand() *cobra.Command {
	f := &restFlags{}
	cmd := &cobra.Command{
		Use:   "connectors",
		Short: "See and manage the connectors that run, over the REST API of any replica",
		Args:  cobra.NoArgs,
	}
	f.add(cmd)
	cmd.AddCommand(
		newConnectorsListCommand(f), newConnectorsStatusCommand(f), newConnectorsDescribeCommand(f), newConnectorsOffsetsCommand(f),
		newConnectorsPlanCommand(f), newConnectorsApplyCommand(f), newConnectorsDiffCommand(f), newConnectorsCreateCommand(f),
		newConnectorsActionCommand(f, "pause", "Stop reading; the tasks keep their place in the status", http.MethodPut, "pause"),
		newConnectorsActionCommand(f, "resume", "Go on where the ledger stands", http.MethodPut, "resume"),
		newConnectorsActionCommand(f, "stop", "Stop reading, and have no tasks; offsets can be changed then", http.MethodPut, "stop"),
		newConnectorsRestartCommand(f),
		newConnectorsActionCommand(f, "delete", "Take connectors away; their ledger and their rows stay", http.MethodDelete, ""),
	)
	return cmd
}

// restCommand makes a command that asks a replica.
func (f *restFlags) command(use, short string, args cobra.PositionalArgs, run func(ctx context.Context, c *restClient, out io.Writer, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := f.client()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), f.timeout)
			defer cancel()
			return run(ctx, c, cmd.OutOrStdout(), args)
		},
	}
}

// statusAnswer is a connector's status, as the API gives it.
type statusAnswer struct {
	Name      string     `json:"name"`
	Connector partAnswer `json:"connector"`
	Tasks     []struct {
		ID int `json:"id"`
		partAnswer
	} `json:"tasks"`
	Type     string `json:"type"`
	Delivery string `json:"delivery,omitempty"`
}

type partAnswer struct {
	State    string `json:"state"`
	WorkerID string `json:"worker_id"`
	Trace    string `json:"trace,omitempty"`
}

// good says whether all of it does what is wanted.
func (s *statusAnswer) good() bool {
	if s.Connector.State == "FAILED" || s.Connector.State == "UNASSIGNED" {
		return false
	}
	for _, t := range s.Tasks {
		if t.State == "FAILED" || t.State == "UNASSIGNED" {
			return false
		}
	}
	return true
}

// expanded is the answer of GET /connectors?expand=info&expand=status.
type expanded map[string]struct {
	Info struct {
		Config map[string]string `json:"config"`
	} `json:"info"`
	Status statusAnswer `json:"status"`
}

func (c *restClient) all(ctx context.Context) (expanded, []string, error) {
	all := expanded{}
	if err := c.do(ctx, http.MethodGet, "/connectors?expand=info&expand=status", nil, &all); err != nil {
		return nil, nil, err
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	slices.Sort(names)
	return all, names, nil
}

func newConnectorsListCommand(f *restFlags) *cobra.Command {
	return f.command("list", "List the connectors, and how they are", cobra.NoArgs,
		func(ctx context.Context, c *restClient, out io.Writer, _ []string) error {
			all, names, err := c.all(ctx)
			if err != nil {
				return err
			}
			if f.form == outputJSON {
				list := []statusAnswer{}
				for _, name := range names {
					list = append(list, all[name].Status)
				}
				return printJSON(out, map[string]any{"connectors": list})
			}
			if len(names) == 0 {
				fmt.Fprintln(out, noConnector)
				return nil
			}
			return printTable(out, func(w io.Writer) {
				fmt.Fprintln(w, "connector\tstate\ttasks\treplicas\ttopics")
				for _, name := range names {
					s, config := all[name].Status, all[name].Info.Config
					fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\n", name, s.Connector.State, taskSummary(&s), replicasOf(&s), topicsOf(config))
				}
			})
		})
}

const noConnector = "There is no connector. Make one with connector connectors apply -f FILE."

func topicsOf(config map[string]string) string {
	return cmp.Or(config["topics"], config["topics.regex"])
}

// taskSummary counts tasks by state: "4 RUNNING, 2 UNASSIGNED".
func taskSummary(s *statusAnswer) string {
	var order []string
	counts := map[string]int{}
	for _, t := range s.Tasks {
		if counts[t.State] == 0 {
			order = append(order, t.State)
		}
		counts[t.State]++
	}
	parts := make([]string, 0, len(order))
	for _, state := range order {
		parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}

func replicasOf(s *statusAnswer) int {
	workers := map[string]bool{}
	for _, t := range s.Tasks {
		workers[t.WorkerID] = true
	}
	return len(workers)
}

func newConnectorsStatusCommand(f *restFlags) *cobra.Command {
	cmd := f.command("status [NAME...]", "Say how connectors and their tasks are, with the traces of what has failed", cobra.ArbitraryArgs,
		func(ctx context.Context, c *restClient, out io.Writer, names []string) error {
			if len(names) == 0 {
				var err error
				if _, names, err = c.all(ctx); err != nil {
					return err
				}
			}
			list := []statusAnswer{}
			good := true
			for _, name := range names {
				var s statusAnswer
				if err := c.do(ctx, http.MethodGet, pathOf(name, "status"), nil, &s); err != nil {
					return err
				}
				list = append(list, s)
				good = good && s.good()
			}
			if f.form == outputJSON {
				if err := printJSON(out, map[string]any{"connectors": list}); err != nil {
					return err
				}
			} else {
				for i := range list {
					if err := list[i].print(out); err != nil {
						return err
					}
				}
			}
			if !good {
				return errUntrue
			}
			return nil
		})
	cmd.Long = "Say how connectors and their tasks are, with the traces of what has failed. The exit code is 0 only when\nnothing has failed and nothing is unassigned."
	return cmd
}

func (s *statusAnswer) print(out io.Writer) error {
	fmt.Fprintf(out, "%s  %s  on %s\n", s.Name, s.Connector.State, s.Connector.WorkerID)
	if s.Delivery != "" {
		fmt.Fprintf(out, "  %s\n", s.Delivery)
	}
	indented(out, s.Connector.Trace)
	err := printTable(out, func(w io.Writer) {
		for _, t := range s.Tasks {
			fmt.Fprintf(w, "  task %d\t%s\t%s\n", t.ID, t.State, t.WorkerID)
		}
	})
	for _, t := range s.Tasks {
		if t.Trace != "" {
			fmt.Fprintf(out, "  task %d:\n", t.ID)
			indented(out, t.Trace)
		}
	}
	return err
}

func indented(out io.Writer, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		fmt.Fprintf(out, "    %s\n", line)
	}
}

func newConnectorsDescribeCommand(f *restFlags) *cobra.Command {
	return f.command("describe NAME", "Show a connector's configuration, status and topics", cobra.ExactArgs(1),
		func(ctx context.Context, c *restClient, out io.Writer, args []string) error {
			name := args[0]
			var config map[string]string
			var s statusAnswer
			topics := map[string]struct {
				Topics []string `json:"topics"`
			}{}
			for _, part := range []struct {
				path string
				into any
			}{{"config", &config}, {"status", &s}, {"topics", &topics}} {
				if err := c.do(ctx, http.MethodGet, pathOf(name, part.path), nil, part.into); err != nil {
					return err
				}
			}
			masked := maskedConfig(config)
			if f.form == outputJSON {
				return printJSON(out, map[string]any{"name": name, "config": masked, "status": s, "topics": topics[name].Topics})
			}
			if err := s.print(out); err != nil {
				return err
			}
			fmt.Fprintf(out, "  topics: %s\n", some(topics[name].Topics))
			for _, line := range sortedLines(masked) {
				fmt.Fprintf(out, "  %s\n", line)
			}
			return nil
		})
}

// entries is the body of the API's offsets.
type offsetEntries struct {
	Offsets []struct {
		Partition struct {
			Topic     string `json:"kafka_topic"`
			Partition int32  `json:"kafka_partition"`
		} `json:"partition"`
		Offset struct {
			Offset int64 `json:"kafka_offset"`
		} `json:"offset"`
	} `json:"offsets"`
}

func newConnectorsOffsetsCommand(f *restFlags) *cobra.Command {
	cmd := f.command("offsets NAME", "List the next offset to store of each partition", cobra.ExactArgs(1),
		func(ctx context.Context, c *restClient, out io.Writer, args []string) error {
			var answer offsetEntries
			if err := c.do(ctx, http.MethodGet, pathOf(args[0], "offsets"), nil, &answer); err != nil {
				return err
			}
			if f.form == outputJSON {
				return printJSON(out, answer)
			}
			return printTable(out, func(w io.Writer) {
				fmt.Fprintln(w, "topic/partition\tnext")
				for _, o := range answer.Offsets {
					fmt.Fprintf(w, "%s/%d\t%d\n", o.Partition.Topic, o.Partition.Partition, o.Offset.Offset)
				}
			})
		})
	cmd.Long = "List the next offset to store of each partition. connector offsets list shows the logs' ends beside them, and\nconnector offsets reset changes them."
	return cmd
}

func newConnectorsActionCommand(f *restFlags, verb, short, method, below string) *cobra.Command {
	return f.command(verb+" NAME...", short, cobra.MinimumNArgs(1),
		func(ctx context.Context, c *restClient, out io.Writer, names []string) error {
			for _, name := range names {
				path := pathOf(name)
				if below != "" {
					path = pathOf(name, below)
				}
				if err := c.do(ctx, method, path, nil, nil); err != nil {
					return err
				}
				if f.form == outputText {
					fmt.Fprintf(out, "%s: %s\n", name, done[verb])
				}
			}
			if f.form == outputJSON {
				return printJSON(out, map[string]any{"done": verb, "connectors": names})
			}
			return nil
		})
}

// done is what is said once a request was taken.
var done = map[string]string{
	"pause": "is being paused", "resume": "goes on", "stop": "is being stopped", "delete": "deleted; its ledger and its rows stay", "restart": "is being restarted",
}

func newConnectorsRestartCommand(f *restFlags) *cobra.Command {
	var onlyFailed bool
	cmd := f.command("restart NAME...", "Restart connectors with their tasks, in all replicas", cobra.MinimumNArgs(1),
		func(ctx context.Context, c *restClient, out io.Writer, names []string) error {
			query := url.Values{"includeTasks": {"true"}, "onlyFailed": {strconv.FormatBool(onlyFailed)}}.Encode()
			for _, name := range names {
				if err := c.do(ctx, http.MethodPost, pathOf(name, "restart")+"?"+query, nil, nil); err != nil {
					return err
				}
				if f.form == outputText {
					fmt.Fprintf(out, "%s: %s\n", name, done["restart"])
				}
			}
			if f.form == outputJSON {
				return printJSON(out, map[string]any{"done": "restart", "connectors": names})
			}
			return nil
		})
	cmd.Flags().BoolVar(&onlyFailed, "only-failed", false, "only in replicas in which it or a task of it has failed")
	return cmd
}
