package main

import (
	"archive/zip"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/qicore/tickconnect/marketdata"
)

// readLean reads the bars of one zip: time, open, high, low, close, volume. The
// time of hours and days is written out in UTC, that of shorter bars in
// milliseconds since midnight of the day in the zip's name.
func readLean(r *recorder, file, exchange, symbol, interval string) error {
	z, err := zip.OpenReader(file)
	if err != nil {
		return err
	}
	defer z.Close()
	if len(z.File) != 1 {
		return fmt.Errorf("%d files in the zip, want 1", len(z.File))
	}
	f, err := z.File[0].Open()
	if err != nil {
		return err
	}
	defer f.Close()

	var midnight time.Time
	if interval == "1m" {
		name := strings.Split(path.Base(filepath.ToSlash(file)), "_")
		if midnight, err = time.Parse("20060102", name[len(name)-2]); err != nil {
			return err
		}
	}
	rows := csv.NewReader(f)
	for {
		row, err := rows.Read()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		at, err := leanTime(row[0], midnight)
		if err != nil {
			return err
		}
		b := marketdata.OHLCV{ExchangeID: exchange, Symbol: symbol, Interval: interval, Time: at, Source: "lean"}
		for i, to := range []*marketdata.Decimal{&b.Open, &b.High, &b.Low, &b.Close, &b.Volume} {
			if *to, err = marketdata.ParseDecimal(row[1+i]); err != nil {
				return err
			}
		}
		if err := r.bar(b); err != nil {
			return err
		}
	}
}

func leanTime(text string, midnight time.Time) (time.Time, error) {
	if midnight.IsZero() {
		return time.Parse("20060102 15:04", text)
	}
	millis, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	return midnight.Add(time.Duration(millis) * time.Millisecond), nil
}
