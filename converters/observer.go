package converters

import (
	"context"
	"time"

	"github.com/qicore/tickconnect/connect"
)

// Noticed is what a converter saw in one record that is no error, but that its
// readers should be able to count.
type Noticed struct {
	// Floats counts the decimals that were JSON numbers: the producer may have had
	// them as binary floats. LongFloats counts those of them with more than 15
	// significant digits, whose last ones may then not be the exchange's.
	Floats, LongFloats int
	// ReceiveTime: the row's time is when the producer received the message, since it
	// had none of the exchange.
	ReceiveTime bool
	// Milliseconds: a time that should be in seconds was in a finer unit.
	Milliseconds bool
	// QuoteAmount: an amount is stored that is in the quote currency.
	QuoteAmount bool
	// Gap: the producer says that messages before this record may be missing.
	Gap bool
	// UnknownFields counts the fields that were ignored.
	UnknownFields int
}

// Refuser is a Converter that tells why a topic is not for it.
type Refuser interface {
	Converter
	// Refusal says why Kinds gives nil, and what to do; "" where it does not.
	Refusal(topic string) (reason, advice string)
}

// Pinger is a Converter that may need something that can be away.
type Pinger interface {
	Converter
	// Ping asks for what it needs, and says what is wrong.
	Ping(ctx context.Context) error
}

// Observer is a Converter that tells what it noticed.
type Observer interface {
	Converter
	// Observe is Convert, and sets seen to what it noticed, also before an error.
	Observe(topic string, r *connect.Record, now time.Time, rows Rows, seen *Noticed) error
}
