package marketdata

import "strings"

// Flags mark what is odd in a record that is stored all the same.
type Flags uint16

const (
	// FlagCrossed: the bid is above the ask.
	FlagCrossed Flags = 1 << iota
	// FlagHighBelowLow: the bar's high is below its low.
	FlagHighBelowLow
)

var flagNames = [...]string{"crossed", "high_below_low"}

// Has says whether all flags of o are set.
func (f Flags) Has(o Flags) bool { return f&o == o }

// Names gives the flags' names as they are stored, in a fixed order; nil for none.
func (f Flags) Names() []string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String gives the names with commas between them.
func (f Flags) String() string { return strings.Join(f.Names(), ",") }
