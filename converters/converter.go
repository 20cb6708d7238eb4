// Package converters reads the records of producers that others wrote, and gives
// market data: cryptofeed's Kafka backend, Tardis' normalised messages, CCXT's
// unified structures. A connector names one by value.converter.
package converters

import (
	"time"

	"github.com/qicore/tickconnect/connect"
	"github.com/qicore/tickconnect/marketdata"
)

// Converter makes market data of records. It is safe for concurrent use.
type Converter interface {
	// Kinds says which kinds the records of a topic may give: nil where the topic's
	// name tells that it is not for this converter, and empty but not nil where it is
	// but holds nothing that is stored. It is asked before a record is read, so that
	// the kinds' tables are there.
	Kinds(topic string) []marketdata.Kind
	// Convert gives the rows of one record, all or none. now bounds their times.
	//
	// It returns a *[marketdata.Error] for a bad record, an error that wraps
	// [connect.ErrFiltered] for one that holds nothing to store, as a control
	// message, a [connect.Retriable] error where something that it needs is away, as a
	// schema registry: it is called again, and the partition waits (promise 6); and
	// the errors of rows as they are. Every other error makes a dead letter. What it
	// gave to rows before an error counts as not given. The texts of a row may refer to the
	// record's bytes and to buffers that the converter uses again after the call.
	Convert(topic string, r *connect.Record, now time.Time, rows Rows) error
}

// Rows takes the rows of a record, in their order. It checks them by the rules of
// package marketdata (Check), and its errors are those of Convert.
type Rows interface {
	Row(v marketdata.Row) error
}
