package worker

import (
	"errors"

	"github.com/qicore/tickconnect/connect"
)

// errorKinds are all that errorKind gives.
var errorKinds = []string{"outage", "bad_record", "fenced", "operator"}

// errorKind names what an error asks the worker to do, for metrics.
func errorKind(err error) string {
	var bad *connect.BadDataError
	var fenced *connect.FencedError
	switch {
	case errors.As(err, &fenced):
		return "fenced"
	case errors.As(err, &bad):
		return "bad_record"
	case connect.IsRetriable(err):
		return "outage"
	}
	return "operator"
}
