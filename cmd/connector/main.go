// Command connector moves market data from Redpanda and Kafka topics into
// TimescaleDB.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/config"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// After the first signal the next one ends the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(execute(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// errUntrue says that what was asked is not so, after the answer was printed:
// the exit code is 1, and no more need be said.
var errUntrue = errors.New("the answer is no")

// execute runs a command line and returns the exit code: 0 only when what was
// asked for was done, or is true.
func execute(ctx context.Context, args []string, out, errOut io.Writer) int {
	root := newRootCommand()
	root.SetArgs(args)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return 0
	case !errors.Is(err, errUntrue):
		// The configuration's own secrets are removed where it is known; a URL on the
		// command line is caught here.
		fmt.Fprintln(errOut, "connector:", new(config.Redactor).Redact(err.Error()))
	}
	return 1
}

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "connector",
		Short:         "Market data from Redpanda into TimescaleDB, exactly once",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(
		newDemoCommand(),
		newRunCommand(),
		newValidateCommand(),
		newAuditCommand(),
		newDeadLettersCommand(),
		newStatusCommand(),
		newConnectorsCommand(),
		newExplainRowCommand(),
		newOffsetsCommand(),
		newPublishCommand(),
		newTopicsCommand(),
		newVersionCommand(),
		newDocsCommand(),
	)
	return root
}

// addConfigFlag gives a command the flag that names its configuration.
func addConfigFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "connector.yaml", "configuration file")
	// The flag was made in the line above.
	_ = cmd.MarkFlagFilename("config", "yaml", "yml", "json")
}
