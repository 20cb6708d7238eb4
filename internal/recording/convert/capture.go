package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
)

// frame is one message that an exchange sent.
type frame struct {
	conn, addr string // the connection and the address that it is to
	at         time.Time
	data       []byte
}

const lineBytesMax = 64 << 20 // replies of a REST API are among the lines

// readCapture returns the frames of a capture in the order of their arrival.
func readCapture(path string) ([]frame, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	z, err := zstd.NewReader(f)
	if err != nil {
		return nil, err
	}
	defer z.Close()

	var frames []frame
	addrs := make(map[string]string)
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, lineBytesMax)
	for lines.Scan() {
		var line struct {
			T, Conn, Addr string
			TS            json.Number
			Data          json.RawMessage
		}
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, err
		}
		switch line.T {
		case "connect":
			addrs[line.Conn] = line.Addr
		case "recv":
			var text string
			if err := json.Unmarshal(line.Data, &text); err != nil {
				return nil, fmt.Errorf("a frame that is not text: %w", err)
			}
			at, err := unixTime(line.TS.String(), inSeconds)
			if err != nil {
				return nil, err
			}
			frames = append(frames, frame{conn: line.Conn, at: at, data: []byte(text)})
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	for i := range frames {
		frames[i].addr = addrs[frames[i].conn]
	}
	sort.SliceStable(frames, func(i, j int) bool { return frames[i].at.Before(frames[j].at) })
	return frames, nil
}

// isArray tells the venues' array frames from their objects.
func (f *frame) isArray() bool { return bytes.HasPrefix(f.data, []byte("[")) }

// Units of times that are counted since 1970: the decimal digits of a second
// that lie left of the point.
const (
	inSeconds = 0
	inMillis  = 3
	inMicros  = 6
	inNanos   = 9
)

// unixTime reads a count since 1970, also one with a fraction, and cuts it to
// microseconds without going through a float.
func unixTime(text string, unit int) (time.Time, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	digits := whole + fraction
	// digits counts 10^-(unit+len(fraction)) seconds.
	if have := unit + len(fraction); have > inMicros {
		digits = digits[:max(0, len(digits)-(have-inMicros))]
	} else {
		digits += strings.Repeat("0", inMicros-have)
	}
	micros, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("%q is no time since 1970", text)
	}
	return time.UnixMicro(micros).UTC(), nil
}

// unixTimes reads counts of one unit. It keeps the first error, so that a venue
// need not look at each.
type unixTimes struct{ err error }

func (u *unixTimes) read(text string, unit int) time.Time {
	t, err := unixTime(text, unit)
	if err != nil && u.err == nil {
		u.err = err
	}
	return t
}
