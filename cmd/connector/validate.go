package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/qicore/tickconnect/connect"
	redpandasource "github.com/qicore/tickconnect/connectors/redpanda-source"
)

// Levels of a finding.
const (
	levelError   = "error"
	levelWarning = "warning"
	levelInfo    = "info"
)

// report is the answer of validate.
type report struct {
	File     string            `json:"file"`
	Valid    bool              `json:"valid"`
	Findings []finding         `json:"findings"`
	Reports  []connectorReport `json:"connectors"`
}

type connectorReport struct {
	Name     string    `json:"name"`
	Class    string    `json:"class,omitempty"`
	Delivery *delivery `json:"delivery,omitempty"`
	Findings []finding `json:"findings"`
}

type delivery struct {
	ExactlyOnce bool   `json:"exactly_once"`
	Why         string `json:"why"`
}

type finding struct {
	Level   string `json:"level"`
	Key     string `json:"key,omitempty"`
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"`
}

func newValidateCommand() *cobra.Command {
	var (
		path    string
		offline bool
		timeout time.Duration
		form    output
	)
	cmd := &cobra.Command{
		Use:   "validate",
		Short: "Check a configuration against the live brokers and databases",
		Long: "Check a configuration: every key, then the live brokers and databases, changing nothing.\n" +
			"It says what delivery each connector really gives, and how to mend what is wrong.\n" +
			"The exit code is 1 where anything would keep a connector from working.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := load(path)
			if err != nil {
				return err
			}
			r := validate(cmd.Context(), l, offline, timeout)
			if form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), r)
			} else {
				err = r.print(cmd.OutOrStdout())
			}
			if err == nil && !r.Valid {
				err = errUntrue
			}
			return err
		},
	}
	addConfigFlag(cmd, &path)
	addOutputFlag(cmd, &form)
	cmd.Flags().BoolVar(&offline, "offline", false, "check the file alone")
	cmd.Flags().DurationVar(&timeout, "timeout", 10*time.Second, "longest wait for the brokers, and for each database")
	return cmd
}

// validate checks a configuration that was loaded.
func validate(ctx context.Context, l *loaded, offline bool, timeout time.Duration) *report {
	r := &report{File: l.path, Findings: l.findings()}
	if len(l.connectors) == 0 && !l.ingest.on() {
		r.Findings = append(r.Findings, finding{levelWarning, "connectors", "the file has no connector", "add one under connectors, or make one over REST once it runs"})
	}
	for _, text := range lines(l.process.checkSecurity(l.credentials)) {
		r.Findings = append(r.Findings, finding{levelWarning, "listeners", text, ""})
	}
	for _, c := range l.connectors {
		cr := connectorReport{Name: c.name, Class: c.plugin.Class, Findings: c.findings()}
		if c.err == nil {
			cr.try(ctx, l, c, offline, timeout)
		}
		r.Reports = append(r.Reports, cr)
	}
	r.Valid = !slices.ContainsFunc(r.all(), func(f *finding) bool { return f.Level == levelError })
	for _, f := range r.all() {
		f.Message, f.Fix = l.redactor.Redact(f.Message), l.redactor.Redact(f.Fix)
	}
	return r
}

func (r *report) all() []*finding {
	var all []*finding
	for i := range r.Findings {
		all = append(all, &r.Findings[i])
	}
	for i := range r.Reports {
		for j := range r.Reports[i].Findings {
			all = append(all, &r.Reports[i].Findings[j])
		}
	}
	return all
}

// findings are what the file alone shows about the keys of the process.
func (l *loaded) findings() []finding {
	return keyFindings(l.err, l.decoded.NoEffect, l.decoded.Literal)
}

func (c *connectorConfig) findings() []finding {
	return keyFindings(c.err, c.decoded.NoEffect, c.decoded.Literal)
}

func keyFindings(err error, noEffect, literal []string) []finding {
	found := []finding{}
	for _, text := range lines(err) {
		key, message, ok := strings.Cut(text, ": ")
		if !ok {
			key, message = "", text
		}
		found = append(found, finding{Level: levelError, Key: key, Message: message})
	}
	for _, key := range literal {
		found = append(found, finding{
			levelWarning, key, "a secret is written out in the file",
			key + ": ${env:NAME}, or ${file:/path/to/secrets.properties:key}",
		})
	}
	if len(noEffect) > 0 {
		found = append(found, finding{Level: levelInfo, Message: "accepted, without effect here: " + strings.Join(noEffect, ", ")})
	}
	return found
}

// try makes the connector and tries its brokers and its target.
func (cr *connectorReport) try(ctx context.Context, l *loaded, c *connectorConfig, offline bool, timeout time.Duration) {
	quiet := slog.New(slog.DiscardHandler)
	target, err := c.plugin.New(c.name, c.target, connect.Env{Log: quiet})
	if err != nil {
		cr.add(levelError, "", err.Error(), "")
		return
	}
	defer target.Close()
	d := target.Delivery()
	cr.Delivery = &delivery{d.ExactlyOnce, l.redactor.Redact(d.Why)}
	if offline || l.err != nil {
		return
	}
	topics := cr.tryBrokers(ctx, l, c, timeout, quiet)
	checker, ok := target.(connect.Checker)
	if !ok {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for _, f := range checker.Check(ctx, topics) {
		cr.add(f.Level, f.Key, f.Message, f.Fix)
	}
}

// tryBrokers looks for the connector's topics and gives their names.
func (cr *connectorReport) tryBrokers(ctx context.Context, l *loaded, c *connectorConfig, timeout time.Duration, log *slog.Logger) []string {
	source, err := redpandasource.New(c.name, l.client, c.source, log)
	if err != nil {
		cr.add(levelError, "", err.Error(), "")
		return nil
	}
	defer source.Close()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	claims, err := source.InitialClaims(ctx)
	if err != nil {
		cr.add(levelError, "bootstrap.servers", fmt.Sprintf("the brokers at %s do not answer: %v", l.client.BootstrapServers, err),
			"start the brokers, or set bootstrap.servers and security.protocol to reach them")
		return nil
	}
	var topics []string
	withoutID := 0
	for _, claim := range claims {
		if !slices.Contains(topics, claim.Topic) {
			topics = append(topics, claim.Topic)
		}
		if claim.TopicID == (connect.TopicID{}) {
			withoutID++
		}
	}
	if len(topics) == 0 {
		cr.add(levelWarning, c.topicsKey(), "no topic matches yet; those that appear later are read from their beginning",
			"see which topics there are, or let the producers make them")
	} else {
		cr.add(levelInfo, c.topicsKey(), fmt.Sprintf("%s with %s: %s", count(len(topics), "topic"), count(len(claims), "partition"), some(topics)), "")
	}
	for _, name := range c.source.TopicNames() {
		if len(topics) > 0 && !slices.Contains(topics, name) {
			cr.add(levelWarning, "topics", "there is no topic "+name+" yet; it is read from its beginning once it appears", "")
		}
	}
	if withoutID > 0 {
		cr.add(levelInfo, "", "the brokers give topics no ids: a topic that was deleted and made again is known by a log that ends "+
			"before the ledger, or by another record time there", "")
	}
	return topics
}

// topicsKey is the key that chooses the topics.
func (c *connectorConfig) topicsKey() string {
	if c.source.TopicsRegex != "" {
		return "topics.regex"
	}
	return "topics"
}

func (cr *connectorReport) add(level, key, message, fix string) {
	cr.Findings = append(cr.Findings, finding{level, key, message, fix})
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return strconv.Itoa(n) + " " + of + "s"
}

// some joins the first names of a list.
func some(names []string) string {
	const most = 5
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

func (r *report) print(w io.Writer) error {
	fmt.Fprintln(w, r.File)
	printFindings(w, r.Findings)
	for _, c := range r.Reports {
		fmt.Fprintf(w, "\n%s (%s)\n", c.Name, orUnknown(c.Class))
		if c.Delivery != nil {
			fmt.Fprintf(w, "  delivery  %s\n", c.Delivery)
		}
		printFindings(w, c.Findings)
	}
	counts := map[string]int{}
	for _, f := range r.all() {
		counts[f.Level]++
	}
	verdict := "The configuration is valid"
	if !r.Valid {
		verdict = "The configuration is not valid"
	}
	_, err := fmt.Fprintf(w, "\n%s: %s, %s.\n", verdict, count(counts[levelError], levelError), count(counts[levelWarning], levelWarning))
	return err
}

func printFindings(w io.Writer, findings []finding) {
	for _, f := range findings {
		message := f.Message
		if f.Key != "" {
			message = f.Key + ": " + message
		}
		fmt.Fprintf(w, "  %-8s  %s\n", f.Level, hang(message))
		if f.Fix != "" {
			fmt.Fprintf(w, "            fix: %s\n", hang(f.Fix))
		}
	}
}

// hang keeps the further lines of a text, such as DDL, below the first.
func hang(s string) string { return strings.ReplaceAll(s, "\n", "\n              ") }

func (d *delivery) String() string {
	if d.ExactlyOnce {
		return "exactly once: " + d.Why
	}
	return "at least once: " + d.Why
}

func orUnknown(class string) string {
	if class == "" {
		return "unknown class"
	}
	return class
}
