package publish

import (
	"context"
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/qicore/tickconnect/marketdata"
)

// What errors of a record wrap. A record that breaks a rule gives a
// *[marketdata.Error] instead: it was not sent, and never will be as it is.
var (
	// ErrClosed: the Publisher was closed. The record was not written, unless the
	// error wraps ErrUnknownOutcome, too.
	ErrClosed = errors.New("the publisher is closed")
	// ErrBufferFull: the buffer is full and WithFullBuffer says Refuse.
	ErrBufferFull = errors.New("the buffer is full: the brokers take records more slowly than they come; " +
		"publish more slowly, raise the buffer, or block")
	// ErrTooLarge: the record is above what a batch or the topic may hold.
	ErrTooLarge = errors.New("the record is too large")
	// ErrNotAuthorized: the brokers refuse this client's user.
	ErrNotAuthorized = errors.New("the brokers do not authorize this client")
	// ErrNoTopic: the topic is not there and is not made.
	ErrNoTopic = errors.New("the topic is not there")
	// ErrUnavailable: the brokers did not answer in time. The record was not
	// written, unless the error wraps ErrUnknownOutcome, too.
	ErrUnavailable = errors.New("the brokers are not available")
	// ErrUnknownOutcome: the record was on its way when the wait for it ended, and
	// may have been written or not.
	ErrUnknownOutcome = errors.New("whether the record was written is not known")
)

// BatchError says that some records of a batch were not published. The others
// were; each record's own error is in the results.
type BatchError struct {
	Failed, Records int
	First           error // of the first record that failed
	Index           int   // its place
}

// Error counts what failed and shows the first.
func (e *BatchError) Error() string {
	return fmt.Sprintf("%d of %d records were not published; record %d: %v", e.Failed, e.Records, e.Index, e.First)
}

// Unwrap gives the error of the first record that failed.
func (e *BatchError) Unwrap() error { return e.First }

// produceError puts what the client says of a record into the words of this
// package. sent says that the record may have reached a broker.
func produceError(topic string, size int, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kgo.ErrClientClosed):
		return fmt.Errorf("%w, %w", ErrClosed, ErrUnknownOutcome) // it may have been on its way
	case errors.Is(err, kerr.MessageTooLarge), errors.Is(err, kerr.RecordListTooLarge), errors.Is(err, kerr.InvalidRecord) && size > 1<<20:
		return fmt.Errorf("%w: %d bytes; raise WithMaxRecordBytes and max.message.bytes of topic %s, or send less: %w", ErrTooLarge, size, topic, err)
	case errors.Is(err, kerr.TopicAuthorizationFailed), errors.Is(err, kerr.ClusterAuthorizationFailed):
		return fmt.Errorf("%w: allow WRITE and DESCRIBE on topic %s: %w", ErrNotAuthorized, topic, err)
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return fmt.Errorf("%w: user or password is wrong: %w", ErrNotAuthorized, err)
	case errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.UnknownTopicID):
		return fmt.Errorf("%w: topic %s was deleted; the next record to it makes it again, if topics are made: %w", ErrNoTopic, topic, err)
	case errors.Is(err, kgo.ErrRecordTimeout), errors.Is(err, kgo.ErrRecordRetries):
		return fmt.Errorf("%w: topic %s, %w: %w", ErrUnavailable, topic, ErrUnknownOutcome, err)
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	return fmt.Errorf("publishing to topic %s: %w", topic, err)
}

// IsBadRecord says whether the record itself is to blame, so that sending it
// again is of no use: it breaks a rule, or is too large.
func IsBadRecord(err error) bool {
	var bad *marketdata.Error
	return errors.As(err, &bad) || errors.Is(err, ErrTooLarge)
}
