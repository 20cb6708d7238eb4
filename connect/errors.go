package connect

import (
	"errors"
	"fmt"
	"strings"
)

// What a sink's error tells the worker to do:
//
//	Retriable      hold the batch, back off, try again for ever (an outage)
//	*BadDataError  isolate the record that is to blame and dead-letter it
//	*FencedError   read the named partitions' positions again and go on from there
//	*RefusedError  stop that partition alone and tell the operator
//	any other      the task's partitions concerned are FAILED, tried again each minute
//
// Unknown never means drop.

type retriableError struct{ err error }

func (e *retriableError) Error() string { return e.err.Error() }
func (e *retriableError) Unwrap() error { return e.err }

// Retriable marks an error as an outage: nothing is wrong with the records.
func Retriable(err error) error {
	if err == nil {
		return nil
	}
	return &retriableError{err}
}

// IsRetriable says whether an error was marked by Retriable.
func IsRetriable(err error) bool {
	var e *retriableError
	return errors.As(err, &e)
}

// Stages of a dead letter, in Kafka Connect's words.
const (
	StageValueConverter = "VALUE_CONVERTER"
	StageTransformation = "TRANSFORMATION"
	StageTaskPut        = "TASK_PUT"
)

// RecordError says why a record cannot be stored.
type RecordError struct {
	Stage    string // where it failed, one of the Stage constants
	Reason   string // a short constant for counting, as in a metric's label: "not_json"
	SQLState string // the database's code, where it was the database that refused
	Column   string // the field or column that is to blame, where known
	Message  string // what is wrong, for people
}

func (e *RecordError) Error() string { return e.Message }

// ErrFiltered is what Prepare returns for a record that is not to be stored,
// as intended.
var ErrFiltered = errors.New("filtered")

// BadDataError says that a record of the batch is to blame, not the target.
type BadDataError struct {
	// Record says what is wrong; its Stage is StageTaskPut.
	Record RecordError
	// At and Offset name the record where the target told which; else Offset is -1.
	At     TopicPartition
	Offset int64
}

func (e *BadDataError) Error() string {
	if e.Offset < 0 {
		return e.Record.Message
	}
	return fmt.Sprintf("%s@%d: %s", e.At, e.Offset, e.Record.Message)
}

// FencedError says that a Put did not happen since the ledger is not where the
// task believes it to be.
type FencedError struct {
	// Moved are partitions whose ledger row moved, is gone, or belongs to a closed
	// generation: their positions must be read again.
	Moved []TopicPartition
	// Busy are partitions whose ledger row another transaction holds: they must
	// wait, the others need not.
	Busy []TopicPartition
}

func (e *FencedError) Error() string {
	var parts []string
	if len(e.Moved) > 0 {
		parts = append(parts, fmt.Sprintf("the ledger moved for %v", e.Moved))
	}
	if len(e.Busy) > 0 {
		parts = append(parts, fmt.Sprintf("another transaction holds the ledger of %v", e.Busy))
	}
	return "fenced: " + strings.Join(parts, "; ")
}

// RefusedError stops one partition, touches nothing, and says what to do.
type RefusedError struct {
	At     TopicPartition
	Reason string // what was found: "the ledger stands at 900, the log ends at 500"
	Advice string // what the operator can do
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s: refused: %s; %s", e.At, e.Reason, e.Advice)
}
