package main

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"
)

func newRunCommand() *cobra.Command {
	var path string
	var insecure bool
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the connectors of a configuration file",
		Long: "Run the connectors of a configuration file until SIGTERM or SIGINT: then nothing more is\n" +
			"fetched, what was accepted is stored, and the consumer groups are left. A second signal\n" +
			"ends the process at once; nothing is lost by that. Brokers or a database that are not\n" +
			"there are waited for.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return run(cmd.Context(), path, insecure, cmd.ErrOrStderr())
		},
	}
	addConfigFlag(cmd, &path)
	cmd.Flags().BoolVar(&insecure, "insecure", false, "open listeners that others can reach without a password or TLS")
	return cmd
}

func run(ctx context.Context, path string, insecure bool, logTo io.Writer) error {
	l, err := load(path)
	if err != nil {
		return err
	}
	if err := l.check(); err != nil {
		return err
	}
	if err := l.process.checkSecurity(l.credentials); err != nil && !insecure {
		return err
	}
	log := l.process.logger(logTo, l.redactor, l.levels)
	if len(l.connectors) == 0 && !l.ingest.on() {
		log.Info("the file has no connector: those run that are made over REST", "file", path)
	}
	if len(l.decoded.NoEffect) > 0 {
		log.Info("keys without effect here", "keys", l.decoded.NoEffect)
	}
	for _, c := range l.connectors {
		if len(c.decoded.NoEffect) > 0 {
			log.Info("keys without effect here", "connector", c.name, "keys", c.decoded.NoEffect)
		}
	}
	p, err := newProcess(ctx, l, log)
	if err == nil {
		err = p.run(ctx)
	}
	if err != nil {
		return errors.New(l.redactor.Redact(err.Error()))
	}
	return nil
}
