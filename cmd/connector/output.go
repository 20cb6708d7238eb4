package main

import (
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// output is how a command answers: for people, or as JSON for programs.
type output string

const (
	outputText output = "text"
	outputJSON output = "json"
)

// addOutputFlag gives a command the flag -o.
func addOutputFlag(cmd *cobra.Command, to *output) {
	*to = outputText
	cmd.Flags().VarP(to, "output", "o", "form of the answer: text or json")
}

func (o *output) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *output) Type() string { return "form" }

// Set implements pflag.Value.
func (o *output) Set(text string) error {
	switch output(text) {
	case outputText, outputJSON:
		*o = output(text)
		return nil
	}
	return fmt.Errorf("it is neither %s nor %s", outputText, outputJSON)
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// printTable aligns cells that are separated by tabs.
func printTable(w io.Writer, rows func(io.Writer)) error {
	tw := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	rows(tw)
	return tw.Flush()
}
