package converters

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// TardisConfig is how normalised messages of Tardis are read.
type TardisConfig struct {
	Types []string `json:"value.converter.tardis.types" jsonschema:"description=The types of Tardis' messages to store. quote is a book_snapshot of depth 1. Messages of the other types are counted as filtered."`
}

// DefaultTardis gives the defaults.
func DefaultTardis() TardisConfig {
	var types []string
	for t := tardisNone + 1; t < tardisStored; t++ {
		types = append(types, tardisForms[t].name)
	}
	return TardisConfig{Types: types}
}

// Validate says what is wrong, each message beginning with the key.
func (c *TardisConfig) Validate() error {
	const key = "value.converter.tardis.types"
	all := DefaultTardis().Types
	if len(c.Types) == 0 {
		return fmt.Errorf("%s: names no type, so nothing would be stored; there are %s", key, strings.Join(all, ", "))
	}
	var errs []error
	for _, name := range c.Types {
		if !slices.Contains(all, name) {
			errs = append(errs, fmt.Errorf("%s: %q is none of %s", key, name, strings.Join(all, ", ")))
		}
	}
	return errors.Join(errs...)
}
