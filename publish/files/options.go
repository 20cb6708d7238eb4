package files

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
	"github.com/qicore/tickconnect/publish"
)

// Options say how files are published.
type Options struct {
	// Kind of the records; 0 where the names of the files tell it.
	Kind marketdata.Kind
	// Exchange is that of records which name none.
	Exchange string
	Format   Format
	Layout   marketdata.Layout
	Columns  []Column

	Brokers []string
	Client  []kgo.Opt // further options: TLS, SASL
	// NoCreate has a topic that is not there be an error.
	NoCreate bool

	Rate  float64 // records a second; 0: as fast as they are taken
	Speed float64 // of the records' own time; 0: it does not count
	// Loop publishes the files again and again, and keeps no place.
	Loop bool
	// DryRun checks everything, and neither publishes nor keeps anything.
	DryRun bool
	// Restart forgets the places.
	Restart bool
	// State is the folder that keeps the places.
	State string
	// Reject is the file for rejected lines; "" means one for each file, by its name,
	// in the current folder.
	Reject string

	Stdin io.Reader
	// Tell is called with what a person should know: one line of text.
	Tell  func(text string)
	Clock Clock
	// Publisher are further options of the publisher.
	Publisher []publish.Option
}

// maxRecordBytes is also how long a line may be.
const maxRecordBytes = publish.DefaultMaxRecordBytes

const (
	// bufferMax bounds the records that wait for the brokers.
	bufferMax = 32 << 20
	// saveLines and saveInterval say when the place is saved.
	saveLines    = WindowMax / 2
	saveInterval = time.Second
	// stopLimit bounds how long a run that is interrupted waits for the brokers.
	stopLimit = 10 * time.Second
	// silenceMax is after how long without an answer it is said that brokers are
	// waited for.
	silenceMax = 5 * time.Second
	// shownMax is how many rejected lines are told of.
	shownMax = 10
)

func (o *Options) validate(paths []string) error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(paths) == 0 {
		bad("name a file, or - for standard input")
	}
	stdins := 0
	for _, p := range paths {
		if p == Stdin {
			stdins++
		}
		if err := checkPath(p); err != nil {
			errs = append(errs, err)
			continue
		}
		if _, ok := kindOfFile(p); o.Kind == 0 && !ok {
			_, err := ParseKind("")
			bad("--kind: it is needed, as the name of %s does not tell it (crypto-trades-kraken.jsonl would): %w", p, err)
		}
		if o.Reject != "" {
			if err := (&rejects{path: o.Reject}).check(p); err != nil {
				errs = append(errs, err)
			}
		}
	}
	if stdins > 1 {
		bad("standard input can be read once")
	}
	if o.Loop && stdins > 0 {
		bad("--loop: standard input cannot be read again; save it to a file first")
	}
	if o.Loop && o.DryRun {
		bad("--loop: with --dry-run it would never end")
	}
	if o.Rate < 0 {
		bad("--rate: %v is below 0", o.Rate)
	}
	if o.Speed < 0 {
		bad("--speed: %v is below 0", o.Speed)
	}
	return errors.Join(errs...)
}
