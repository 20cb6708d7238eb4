package timescalesink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/qicore/tickconnect/connect"
)

// SQLSTATE codes that are treated one by one. Their classes are in
// PostgreSQL's appendix A.
const (
	codeUniqueViolation       = "23505"
	codeCheckViolation        = "23514"
	codeSerializationFailure  = "40001"
	codeDeadlock              = "40P01"
	codeDivisionByZero        = "22012"
	codeLockNotAvailable      = "55P03"
	codeQueryCanceled         = "57014"
	codeReadOnly              = "25006"
	codeInsufficientPrivilege = "42501"
	codeUndefinedTable        = "42P01"
	codeConfigurationLimit    = "53400"
	codeProgramLimit          = "54000"
)

// sqlState gives the database's code for an error, or "".
func sqlState(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// classify marks an error as what the worker is to do about it (promise 6): an
// outage is Retriable, a bad record a *connect.BadDataError; what is neither,
// and what is unknown, stays as it is and stops the task for the operator.
func classify(doing string, err error) error {
	if err == nil {
		return nil
	}
	if classified(err) {
		return err
	}
	wrapped := fmt.Errorf("%s: %w", doing, err)
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case isOutage(pg.Code):
			return connect.Retriable(wrapped)
		case pg.Code == codeCheckViolation && pg.ConstraintName == "":
			// No partition takes the row: the table lacks one, no record is to blame.
			return wrapped
		case isBadData(pg.Code):
			return &connect.BadDataError{Record: badRecord(pg), Offset: -1}
		}
		return wrapped
	}
	if isConnectionLoss(err) {
		return connect.Retriable(wrapped)
	}
	return wrapped
}

func classified(err error) bool {
	var fenced *connect.FencedError
	var bad *connect.BadDataError
	var refused *connect.RefusedError
	return connect.IsRetriable(err) || errors.As(err, &fenced) || errors.As(err, &bad) || errors.As(err, &refused)
}

// isOutage says whether a code speaks of the server's state rather than of
// what was asked of it. 53400 is left out: TimescaleDB's decompression limit
// has its own way (put.go), any other configured limit is the operator's.
func isOutage(code string) bool {
	switch code {
	case codeConfigurationLimit:
		return false
	case codeReadOnly, "25P03", "25P04", // a standby after a failover; idle and transaction timeouts
		codeSerializationFailure, codeDeadlock, codeLockNotAvailable, codeQueryCanceled,
		"57P01", "57P02", "57P03", "57P05":
		return true
	}
	switch code[:min(2, len(code))] {
	case "08", "53", "58": // connection, resources (disk full, too many connections), system
		return true
	}
	return false
}

// isBadData says whether a code blames the data of a record: 22 data
// exceptions, 23 integrity, 21000 a row met twice, 54000 an index row too large.
func isBadData(code string) bool {
	switch code[:min(2, len(code))] {
	case "21", "22", "23":
		return true
	}
	return code == codeProgramLimit
}

func badRecord(pg *pgconn.PgError) connect.RecordError {
	message := pg.Message
	if pg.Detail != "" {
		message += ": " + pg.Detail
	}
	return connect.RecordError{
		Stage: connect.StageTaskPut, Reason: "sqlstate_" + pg.Code, SQLState: pg.Code,
		Column: pg.ColumnName, Message: message,
	}
}

func isConnectionLoss(err error) bool {
	var netErr net.Error
	var connectErr *pgconn.ConnectError
	return errors.As(err, &netErr) || errors.As(err, &connectErr) ||
		errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		pgconn.SafeToRetry(err) || strings.Contains(err.Error(), "conn closed")
}
