// Command convert makes the shipped recording out of real recorded market data:
//
//	go run ./internal/recording/convert -data DIR
//
// DIR holds the recordings as their authors published them; which files it
// takes, from whom, and under which licences, is in sources.go. It writes one
// file for each topic, the manifest, and the README that says all this for
// people. Digits are carried as text from the venue's frame to our message.
package main

import (
	"flag"
	"fmt"
	"log"
	"path/filepath"
)

func main() {
	log.SetFlags(0)
	data := flag.String("data", "", "folder of the recordings")
	out := flag.String("out", filepath.Join("internal", "recording", "data"), "folder to write to")
	flag.Parse()
	if *data == "" {
		log.Fatal("-data names no folder: give the one that holds captures, raw, trades and ohlcv")
	}
	if err := convert(*data, *out); err != nil {
		log.Fatal(err)
	}
}

func convert(data, out string) error {
	r := newRecorder()
	for i := range sources {
		s := &sources[i]
		r.begin(s)
		if err := s.read(r, filepath.Join(data, filepath.FromSlash(s.file))); err != nil {
			return fmt.Errorf("%s: %w", s.file, err)
		}
	}
	return r.write(out)
}
