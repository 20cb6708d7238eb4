package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/config"
	"github.com/qicore/tickconnect/internal/rest"
)

// wantedConnectors reads connectors from files: those of this product's form, whose
// keys of the process are passed over, and Kafka Connect's {"name", "config"}.
func wantedConnectors(paths []string) ([]config.Connector, error) {
	var all []config.Connector
	for _, path := range paths {
		found, err := connectorsIn(path)
		if err != nil {
			return nil, err
		}
		for _, c := range found {
			if slices.ContainsFunc(all, func(o config.Connector) bool { return o.Name == c.Name }) {
				return nil, fmt.Errorf("%s: %s is there twice", path, c.Name)
			}
			all = append(all, c)
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: there is no connector in it; a file has connectors: NAME: KEY: VALUE, or {\"name\": ..., \"config\": {...}} as Kafka Connect has it", strings.Join(paths, ", "))
	}
	return all, nil
}

func connectorsIn(path string) ([]config.Connector, error) {
	data, err := readFileOrInput(path)
	if err != nil {
		return nil, err
	}
	if trimmed := bytes.TrimSpace(data); len(trimmed) > 0 && trimmed[0] == '{' {
		var body struct {
			Name   string         `json:"name"`
			Config map[string]any `json:"config"`
		}
		d := json.NewDecoder(bytes.NewReader(trimmed))
		d.UseNumber()
		if err := d.Decode(&body); err == nil && body.Config != nil {
			name := strings.TrimSpace(body.Name) // as POST /connectors does
			if name == "" {
				return nil, fmt.Errorf("%s: name is missing", path)
			}
			c := config.Connector{Name: name, Props: map[string]string{}}
			for key, value := range body.Config {
				switch value.(type) {
				case map[string]any, []any, nil:
					return nil, fmt.Errorf("%s: %s: a value is a text, a number or a boolean; write lists with commas", path, key)
				}
				c.Props[key] = fmt.Sprint(value)
			}
			return []config.Connector{c}, nil
		}
	}
	file, err := config.Parse(path, data)
	if err != nil {
		return nil, err
	}
	return file.Connectors, nil
}

func readFileOrInput(path string) ([]byte, error) {
	if path == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(path)
}

// change is what applying would do to a connector.
type change struct {
	Name string `json:"name"`
	// Action is create, update or none.
	Action string      `json:"action"`
	Keys   []keyChange `json:"keys,omitempty"`
	// Effect is what plan found of records; nil elsewhere.
	Effect *effect           `json:"effect,omitempty"`
	now    map[string]string // what runs; nil: nothing
	config map[string]string // what is wanted
}

// condition has a change refused where what runs is not what it was made for.
func (c *change) condition() http.Header {
	if c.now == nil {
		return http.Header{"If-None-Match": {"*"}}
	}
	return http.Header{"If-Match": {rest.ETag(c.now)}}
}

// keyChange is one key; nil: it is not there. Secrets are masked.
type keyChange struct {
	Key  string  `json:"key"`
	From *string `json:"from"`
	To   *string `json:"to"`
}

// changesOf compares files with what runs.
func (c *restClient) changesOf(ctx context.Context, wanted []config.Connector) ([]change, error) {
	changes := make([]change, 0, len(wanted))
	for _, w := range wanted {
		var now map[string]string
		err := c.do(ctx, http.MethodGet, pathOf(w.Name, "config"), nil, &now)
		if err != nil && !errors.Is(err, errAbsent) {
			return nil, err
		}
		to := maps.Clone(w.Props)
		to["name"] = w.Name
		one := change{Name: w.Name, Action: "none", now: now, config: to}
		switch {
		case err != nil:
			one.Action = "create"
		case !maps.Equal(now, to):
			one.Action = "update"
		}
		one.Keys = keyChanges(now, to)
		changes = append(changes, one)
	}
	return changes, nil
}

func keyChanges(from, to map[string]string) []keyChange {
	keys := map[string]bool{}
	for key := range from {
		keys[key] = true
	}
	for key := range to {
		keys[key] = true
	}
	maskedFrom, maskedTo := maskedConfig(from), maskedConfig(to)
	var changed []keyChange
	for _, key := range slices.Sorted(maps.Keys(keys)) {
		before, had := from[key]
		after, has := to[key]
		if had == has && before == after {
			continue
		}
		k := keyChange{Key: key}
		if had {
			text := maskedFrom[key]
			k.From = &text
		}
		if has {
			text := maskedTo[key]
			k.To = &text
		}
		changed = append(changed, k)
	}
	return changed
}

// maskedConfig hides what is written out and must not be seen.
func maskedConfig(props map[string]string) map[string]string {
	secret := map[string]bool{}
	for _, p := range plugins { // whatever connector.class says: it may be misspelt
		for _, key := range restPlugin(p).Keys {
			secret[key.Name] = secret[key.Name] || key.Type == "password"
		}
	}
	masked := map[string]string{}
	for key, value := range props {
		switch {
		case secret[key] && value != "" && !strings.Contains(value, "${") && !strings.Contains(value, "://"): // of a URL its password alone
			masked[key] = config.Masked
		default:
			masked[key] = config.MaskURL(value)
		}
	}
	return masked
}

func sortedLines(props map[string]string) []string {
	lines := make([]string, 0, len(props))
	for _, key := range slices.Sorted(maps.Keys(props)) {
		lines = append(lines, key+": "+props[key])
	}
	return lines
}

func printChanges(out io.Writer, changes []change) {
	for _, c := range changes {
		switch c.Action {
		case "none":
			fmt.Fprintf(out, "%s: as it runs\n", c.Name)
			continue
		case "create":
			fmt.Fprintf(out, "%s: new\n", c.Name)
		default:
			fmt.Fprintf(out, "%s: changed\n", c.Name)
		}
		for _, k := range c.Keys {
			if k.From != nil {
				fmt.Fprintf(out, "  - %s: %s\n", k.Key, *k.From)
			}
			if k.To != nil {
				fmt.Fprintf(out, "  + %s: %s\n", k.Key, *k.To)
			}
		}
	}
}

func same(changes []change) bool {
	return !slices.ContainsFunc(changes, func(c change) bool { return c.Action != "none" })
}

func addFilesFlag(cmd *cobra.Command, paths *[]string) {
	cmd.Flags().StringSliceVarP(paths, "filename", "f", nil, "file with connectors, of this product's form or Kafka Connect's; - for standard input; may be repeated (required)")
	// The flag was made in the line above.
	_ = cmd.MarkFlagRequired("filename")
}

func newConnectorsDiffCommand(f *restFlags) *cobra.Command {
	var paths []string
	cmd := f.command("diff -f FILE", "Show how connectors in files differ from those that run", cobra.NoArgs,
		func(ctx context.Context, c *restClient, out io.Writer, _ []string) error {
			changes, err := c.compare(ctx, paths)
			if err != nil {
				return err
			}
			if f.form == outputJSON {
				err = printJSON(out, map[string]any{"connectors": changes})
			} else {
				printChanges(out, changes)
			}
			if err == nil && !same(changes) {
				err = errUntrue
			}
			return err
		})
	cmd.Long = "Show how connectors in files differ from those that run. Passwords that are written out are masked. The exit code is\n0 only when nothing differs."
	addFilesFlag(cmd, &paths)
	return cmd
}

func (c *restClient) compare(ctx context.Context, paths []string) ([]change, error) {
	wanted, err := wantedConnectors(paths)
	if err != nil {
		return nil, err
	}
	return c.changesOf(ctx, wanted)
}

func newConnectorsApplyCommand(f *restFlags) *cobra.Command {
	var paths []string
	var dryRun bool
	var plan string
	cmd := f.command("apply -f FILE", "Make connectors as files say: new ones are created, others changed", cobra.NoArgs,
		func(ctx context.Context, c *restClient, out io.Writer, _ []string) error {
			changes, err := c.compare(ctx, paths)
			if err != nil {
				return err
			}
			if made := planOf(changes); plan != "" && plan != made {
				return fmt.Errorf("--plan: %s is another plan than %s: what runs or the files have changed since; make a new one with connector connectors plan. Nothing was changed", plan, made)
			}
			if f.form == outputText {
				printChanges(out, changes)
			}
			if err := c.check(ctx, changes); err != nil {
				return err
			}
			var changed []string
			for i := range changes {
				if one := &changes[i]; one.Action != "none" && !dryRun {
					if err := c.doIf(ctx, http.MethodPut, pathOf(one.Name, "config"), one.condition(), one.config, nil); err != nil {
						return fmt.Errorf("%s: %w\nchanged before that: %s", one.Name, err, cmp.Or(some(changed), "none"))
					}
					changed = append(changed, one.Name)
				}
			}
			switch {
			case f.form == outputJSON:
				return printJSON(out, map[string]any{"connectors": changes, "done": !dryRun})
			case dryRun:
				fmt.Fprintln(out, "Nothing was changed: this is a dry run.")
			case !same(changes):
				fmt.Fprintln(out, "Done.")
			}
			return nil
		})
	cmd.Long = "Make connectors as files say: new ones are created, others changed, and those that run as they should are left alone.\n" +
		"All are checked before the first is changed. Connectors that no file names stay as they are."
	addFilesFlag(cmd, &paths)
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only say what would be done")
	cmd.Flags().StringVar(&plan, "plan", "", "do it only if it is still what connector connectors plan showed under this name")
	return cmd
}

// check has a replica check what would change, so that either all of it can be done or
// nothing is.
func (c *restClient) check(ctx context.Context, changes []change) error {
	var errs []error
	for _, one := range changes {
		if one.Action == "none" {
			continue
		}
		class := one.config["connector.class"]
		if class == "" {
			errs = append(errs, fmt.Errorf("%s: connector.class: it is missing", one.Name))
			continue
		}
		var answer struct {
			Configs []struct {
				Value struct {
					Errors []string `json:"errors"`
				} `json:"value"`
			} `json:"configs"`
		}
		if err := c.do(ctx, http.MethodPut, "/connector-plugins/"+class+"/config/validate", one.config, &answer); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", one.Name, err))
			continue
		}
		for _, key := range answer.Configs {
			for _, text := range key.Value.Errors {
				errs = append(errs, fmt.Errorf("%s: %s", one.Name, text))
			}
		}
	}
	if len(errs) > 0 {
		return fmt.Errorf("nothing was changed:\n%w", errors.Join(errs...))
	}
	return nil
}

func newConnectorsCreateCommand(f *restFlags) *cobra.Command {
	var paths []string
	var state string
	cmd := f.command("create -f FILE", "Create connectors that are not there yet", cobra.NoArgs,
		func(ctx context.Context, c *restClient, out io.Writer, _ []string) error {
			changes, err := c.compare(ctx, paths)
			if err != nil {
				return err
			}
			for _, one := range changes {
				if one.Action != "create" {
					return fmt.Errorf("%s is there already; connector connectors apply -f changes it. Nothing was created", one.Name)
				}
			}
			if err := c.check(ctx, changes); err != nil {
				return err
			}
			for _, one := range changes {
				body := map[string]any{"name": one.Name, "config": one.config, "initial_state": strings.ToUpper(state)}
				if err := c.do(ctx, http.MethodPost, "/connectors", body, nil); err != nil {
					return fmt.Errorf("%s: %w", one.Name, err)
				}
				if f.form == outputText {
					fmt.Fprintf(out, "%s: created\n", one.Name)
				}
			}
			if f.form == outputJSON {
				return printJSON(out, map[string]any{"connectors": changes, "done": true})
			}
			return nil
		})
	addFilesFlag(cmd, &paths)
	cmd.Flags().StringVar(&state, "initial-state", "running", "running, paused or stopped")
	return cmd
}
