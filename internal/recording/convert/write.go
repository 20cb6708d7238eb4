package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/qicore/tickconnect/internal/recording"
	"github.com/qicore/tickconnect/marketdata"
)

// write replaces the recording in dir.
func (r *recorder) write(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, "*.jsonl.zst"))
	if err != nil {
		return err
	}
	for _, path := range old {
		if err := os.Remove(path); err != nil {
			return err
		}
	}

	// A small window keeps the reader's memory small, who has all topics open.
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithWindowSize(1<<20))
	if err != nil {
		return err
	}
	var manifest recording.Manifest
	var topics []string
	for topic := range r.topics {
		topics = append(topics, topic)
	}
	slices.Sort(topics)
	hash, sizeBytes := sha256.New(), 0
	for _, topic := range topics {
		t := r.topics[topic]
		var text bytes.Buffer
		for _, m := range t.messages {
			text.Write(m.key)
			text.WriteByte('\t')
			text.Write(m.value)
			text.WriteByte('\n')
		}
		fmt.Fprintln(hash, topic)
		hash.Write(text.Bytes())
		packed := z.EncodeAll(text.Bytes(), nil)
		sizeBytes += len(packed)
		if err := os.WriteFile(filepath.Join(dir, topic+".jsonl.zst"), packed, 0o644); err != nil {
			return err
		}
		manifest.Totals = append(manifest.Totals, recording.Total{
			Topic: topic, Records: len(t.messages), First: t.first, Last: t.last,
		})
	}
	manifest.Version = hex.EncodeToString(hash.Sum(nil))[:16]
	text, err := json.MarshalIndent(manifest, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "manifest.json"), append(text, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, "README.md"), readme(&manifest, sizeBytes), 0o644),
	)
}

const readmeHead = `# Recorded market data

Made by ` + "`go run ./internal/recording/convert -data DIR`" + `, which also writes this page. The data were
recorded from the exchanges' public feeds by the authors named below; the exchanges' own terms hold for
other uses than trying out and testing this software.

One file for each topic, zstd; a line is the record's key, a tab, and its value.

What was done to them:

- The digits of prices and sizes are those that the venue sent: they were carried as text.
- Symbols are written as the venue writes them. An exchange's futures are an exchange of their own here
  (binance-usdm, bybit-linear), since they share symbols with its spot market.
- The side is the taker's, in lower case: Coinbase's, which is the maker's, was inverted; Binance says
  whether the buyer was the maker.
- Times are the venue's, cut to microseconds. Quotes of Binance's spot market, Kraken and Bitfinex have
  none; theirs is the time at which the recording computer received them.
- What was sent more than once is here once: trades of snapshots, of Bitfinex' second message, of several
  connections. An open bar that changed is here with each of its states, as it was sent. Trades without
  an id (Kraken, Bitget) are kept even where they are equal.
- Frames that list the newest trade first were turned round.
- Bybit's ticker deltas were merged into whole quotes; a quote is made where a bid or ask changed.
- A price is the last price of a ticker that is quoted in US dollars: coinId is the base currency in lower
  case, usdPrice the last price. Gemini and Bitstamp have no ticker there, and their last price is that of
  the last trade; of several trades at one time only the last gives one. Volumes are left out, since the tickers count them in coins.
- Trades of Binance that are aggregates say so in their source; bars that LEAN made of trades have the
  source lean.
- Records that a venue sent and that break a rule of this project's messages are left out, and counted below.

`

// readme says for people what the recording holds and where it is from.
func readme(m *recording.Manifest, sizeBytes int) []byte {
	var b bytes.Buffer
	b.WriteString(readmeHead)
	total, exchanges := 0, make(map[string]bool)
	for _, t := range m.Totals {
		_, exchange, _ := marketdata.KindOfTopic(t.Topic)
		exchanges[exchange] = true
		total += t.Records
	}
	fmt.Fprintf(&b, "%d records of %d exchanges in %d topics, %.1f MB.\n\n", total, len(exchanges), len(m.Totals), float64(sizeBytes)/1e6)
	b.WriteString("| topic | records | from (UTC) | to (UTC) |\n|---|---:|---|---|\n")
	for _, t := range m.Totals {
		const layout = "2006-01-02 15:04:05"
		fmt.Fprintf(&b, "| %s | %d | %s | %s |\n", t.Topic, t.Records, t.First.UTC().Format(layout), t.Last.UTC().Format(layout))
	}
	b.WriteString("\n## Sources\n")
	var from *licence
	for i := range sources {
		s := &sources[i]
		if from == nil || *from != s.licence {
			from = &s.licence
			fmt.Fprintf(&b, "\nFrom %s; licence: %s.", s.licence.from, s.licence.name)
			if s.licence.terms != "" {
				fmt.Fprintf(&b, " %s", s.licence.terms)
			}
			b.WriteString("\n\n| file | what | records | sent again | bad |\n|---|---|---|---:|---:|\n")
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %d | %d |\n", s.file, s.what, countsText(s.records), s.repeats, s.bad)
	}
	return b.Bytes()
}

func countsText(records map[string]int) string {
	var parts []string
	for _, kind := range marketdata.Kinds() {
		if n := records[kind.String()]; n > 0 {
			parts = append(parts, fmt.Sprintf("%s: %d", kind, n))
		}
	}
	return strings.Join(parts, ", ")
}
