package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func newRunCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the connectors of a configuration file",
		Long: "Run the connectors of a configuration file until SIGTERM or SIGINT: then nothing more is\n" +
			"fetched, what was accepted is stored, and the consumer groups are left. A second signal\n" +
			"ends the process at once; nothing is lost by that. Brokers or a database that are not\n" +
			"there are waited for.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), path, cmd.ErrOrStderr())
		},
	}
	addConfigFlag(cmd, &path)
	return cmd
}

func run(ctx context.Context, path string, logTo io.Writer) error {
	l, err := load(path)
	if err != nil {
		return err
	}
	if err := l.check(); err != nil {
		return err
	}
	if len(l.connectors) == 0 && !l.ingest.on() {
		return fmt.Errorf("%s has no connector; add one under connectors, or set publish.listeners to take records over HTTP", path)
	}
	log := l.process.logger(logTo, l.redactor)
	if len(l.decoded.NoEffect) > 0 {
		log.Info("keys without effect here", "keys", l.decoded.NoEffect)
	}
	for _, c := range l.connectors {
		if len(c.decoded.NoEffect) > 0 {
			log.Info("keys without effect here", "connector", c.name, "keys", c.decoded.NoEffect)
		}
	}
	limitMemory(l)
	p, err := newProcess(ctx, l, log)
	if err == nil {
		err = p.run(ctx)
	}
	if err != nil {
		return errors.New(l.redactor.Redact(err.Error()))
	}
	return nil
}
