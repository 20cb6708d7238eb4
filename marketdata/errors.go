package marketdata

import "strconv"

// Reasons of an Error: short constants for counting.
const (
	ReasonEmptyValue   = "empty_value"
	ReasonNotJSON      = "not_json"
	ReasonNotAnObject  = "not_an_object"
	ReasonTooDeep      = "too_deep"
	ReasonMissingField = "missing_field" // required, and absent, null, or an empty identifier
	ReasonWrongType    = "wrong_type"    // an object for a number, a number for a text
	ReasonBadNumber    = "bad_number"
	ReasonBadTime      = "bad_time"
	ReasonOutOfRange   = "out_of_range" // a number, a time or a text that is none of those which are stored
	ReasonInvalidText  = "invalid_text" // NUL, or not UTF-8
)

// Error says why a record is bad.
type Error struct {
	Reason  string // one of the Reason constants
	Field   string // the field to blame, as it is written in the package's own records; "" for the record
	Message string // what is wrong, for people
}

func (e *Error) Error() string {
	if e.Field == "" {
		return e.Message
	}
	return e.Field + ": " + e.Message
}

// clip quotes text for a message, only its beginning where it is long.
func clip(s string) string {
	const show = 64
	if len(s) > show {
		return strconv.Quote(s[:show]) + "..."
	}
	return strconv.Quote(s)
}
