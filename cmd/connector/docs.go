package main

import (
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/config"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
	"github.com/qicore/tickconnect/internal/worker"
)

// newDocsCommand writes the page of the documentation that comes from the
// configuration structs.
func newDocsCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:    "docs",
		Short:  "Print the page on configuration, as Markdown",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			page := configurationPage()
			if path != "" {
				return os.WriteFile(path, []byte(page), 0o644)
			}
			cmd.Print(page)
			return nil
		},
	}
	cmd.Flags().StringVar(&path, "write", "", "file to write the page to")
	return cmd
}

const configurationIntro = `# Configuration

<!-- Written by "make docs" from the configuration structs; change those. -->

One YAML file holds the keys of the process and a map of connectors, each with a flat map of keys:

` + "```yaml" + `
bootstrap.servers: localhost:9092
listeners: http://127.0.0.1:8083
connectors:
  market-to-timescale:
    connector.class: timescale-sink
    topics.regex: ^crypto-(prices|trades|ohlcv|level1|analytics|funding|open-interest|liquidations|book)(-.+)?$
    connection.url: ${env:DATABASE_URL}
` + "```" + `

Names are Kafka Connect's where it has one. A value may be text, a number, a boolean or a list; a list is joined by
commas. A key that is not known is an error which names the nearest known one, and so is a key or a connector that
stands in the file twice. ` + "`connector validate`" + ` reports everything that is wrong at once.

Types: a **duration** is a number of milliseconds where the key ends in ` + "`.ms`" + `, or a text such as ` + "`500ms`, `30s`, `7d`" + `;
**bytes** may have a unit, as in ` + "`64MiB`" + ` (1024) or ` + "`64MB`" + ` (1000); a **list** is separated by commas; a **password** is masked
wherever it could be seen.

## Secrets

A value may hold variables, which are resolved when the process reads it:

| variable | gives |
|---|---|
| ` + "`${env:NAME}`" + ` | the environment variable |
| ` + "`${file:/path/secrets.properties:key}`" + ` | the key of a Java properties file |
| ` + "`${dir:/path:filename}`" + ` | the content of a file, as Kubernetes mounts a Secret |

A variable that cannot be resolved is an error that names the key and the variable. Passwords, those within URLs too,
are masked in logs, errors, the status and metrics. ` + "`connector validate`" + ` warns of a secret that is written out in the file.
`

func configurationPage() string {
	var b strings.Builder
	b.WriteString(configurationIntro)
	section := func(title, text string, targets ...any) {
		b.WriteString("\n## " + title + "\n\n" + text + "\n\n")
		var keys []config.Key
		for _, t := range targets {
			keys = append(keys, config.Describe(t)...)
		}
		b.WriteString(config.Markdown(keys))
	}
	process, client := defaultProcessConfig(), redpandasource.DefaultClientConfig()
	section("The process", "Keys at the top of the file.", &process)
	section("Brokers", "Keys at the top of the file; all connectors use them. Where `group.instance.id` is not set it is the host's name.", &client)
	ingest := defaultIngestConfig()
	section("HTTP ingest", "Keys at the top of the file; see [http-ingest.md](http-ingest.md).", &ingest)
	section("Variables", "Keys at the top of the file: what `${file:...}`, `${dir:...}` and `${env:...}` in connectors may read, for those who may make them over REST.", new(config.Variables))
	tracing := defaultTracingConfig()
	section("Traces", "Keys at the top of the file; see [operations.md](operations.md#traces).", &tracing)
	settings, source := worker.DefaultSettings(), redpandasource.DefaultConfig()
	section("Every connector", "Keys of each connector, whatever its class.", &source, &settings)
	for _, p := range plugins {
		text := "Beside the keys of every connector."
		if len(p.Aliases) > 0 {
			text += " `connector.class` may also be " + strings.Join(p.Aliases, ", ") + "."
		}
		section(p.Class, text, p.Config())
	}
	b.WriteString("\n## Keys without effect\n\n" +
		"A configuration that was written for Kafka Connect may hold keys of its runtime, of its converters and of the Java\n" +
		"clients. These are accepted, decide nothing here, and `connector validate` lists them. A star stands for any ending.\n\n" +
		"Of a connector: " + codes(config.ConnectorFrameworkKeys()) + ".\n\n" +
		"Of the process: " + codes(config.WorkerFrameworkKeys()) + ".\n\n" +
		"Two would change what is stored, and are refused instead: `transforms` (a processor does this here) and a\n" +
		"`value.converter` that does not read JSON.\n")
	return b.String()
}

func codes(names []string) string { return "`" + strings.Join(names, "`, `") + "`" }
