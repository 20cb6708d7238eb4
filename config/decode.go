package config

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"unicode"

	"github.com/agnivade/levenshtein"
)

// Decoded is what Decode found beside the values.
type Decoded struct {
	// NoEffect are keys of Kafka Connect's framework that mean nothing here, in
	// order.
	NoEffect []string
	// Secrets are values that must not be seen, for a Redactor. They are there also
	// beside an error.
	Secrets []string
	// Resolved are values that variables gave, and the words in them, which a check may
	// repeat. Whoever may have a configuration checked chooses which.
	Resolved []string
	// Literal are keys whose secret is written out in the file, in order.
	Literal []string
}

// Decode fills targets, pointers to structs that hold the defaults, with a
// connector's keys. It resolves variables. A key is set in every target that
// names it; one that none names must be of Kafka Connect's framework.
//
// The error joins everything that is wrong; each message begins with the key
// that was typed and shows the value as it was typed, never a resolved one. A
// key with an error keeps its default.
func Decode(props map[string]string, targets ...any) (Decoded, error) {
	return new(Variables).Decode(props, targets...)
}

// Decode is Decode with variables that may read no more than v says.
func (v *Variables) Decode(props map[string]string, targets ...any) (Decoded, error) {
	return v.decode(props, slices.Concat(connectorFramework, transformKeys), targets)
}

// DecodeWorker is Decode for the keys of the process.
func DecodeWorker(props map[string]string, targets ...any) (Decoded, error) {
	return new(Variables).decode(props, workerFramework, targets)
}

func (v *Variables) decode(props map[string]string, framework []string, targets []any) (Decoded, error) {
	var known []field
	for _, t := range targets {
		known = append(known, fields(t)...)
	}
	var d Decoded
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(props)) {
		named := slices.DeleteFunc(slices.Clone(known), func(f field) bool { return !f.takes(key) })
		if len(named) > 0 {
			errs = append(errs, d.set(v, named, key, props[key])...)
			continue
		}
		if isMisspelt(key, known) {
			errs = append(errs, unknownKey(key, known, nil))
			continue
		}
		if !matches(framework, key) {
			errs = append(errs, unknownKey(key, known, framework))
			continue
		}
		if reason := refuse(key, props[key]); reason != "" {
			errs = append(errs, fmt.Errorf("%s: %s", key, reason))
			continue
		}
		d.NoEffect = append(d.NoEffect, key)
	}
	return d, errors.Join(errs...)
}

// takes says whether the field is set by the key: by its name, or by its prefix
// and at least one more character.
func (f field) takes(key string) bool {
	if f.prefix == "" {
		return f.name == key
	}
	return strings.HasPrefix(key, f.prefix) && len(key) > len(f.prefix)
}

func (d *Decoded) set(v *Variables, named []field, key, typed string) []error {
	text, given, err := v.resolve(typed)
	if err != nil {
		return []error{fmt.Errorf("%s: %w", key, err)}
	}
	for _, value := range given {
		d.Resolved = append(d.Resolved, value)
		d.Resolved = slices.AppendSeq(d.Resolved, strings.FieldsFuncSeq(value, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}))
	}
	secret := slices.ContainsFunc(named, func(f field) bool { return f.secret })
	d.note(key, typed, text, secret)
	// Of a plain name and a prefix that both fit, the name is meant.
	if slices.ContainsFunc(named, func(f field) bool { return f.prefix == "" }) {
		named = slices.DeleteFunc(named, func(f field) bool { return f.prefix != "" })
	}
	for _, f := range named {
		if err := f.assign(key, text); err != nil {
			return []error{valueError(key, typed, secret, err)}
		}
	}
	return nil
}

// note remembers what must not be seen of a value: of a URL its passwords.
func (d *Decoded) note(key, typed, text string, secret bool) {
	hidden := passwordsIn(text)
	literal := slices.ContainsFunc(passwordsIn(typed), isLiteral)
	if secret && text != "" && !strings.Contains(text, "://") {
		hidden = append(hidden, text)
		literal = isLiteral(typed)
	}
	d.Secrets = append(d.Secrets, hidden...)
	if literal {
		d.Literal = append(d.Literal, key)
	}
}

// valueError shows the value as typed, unless it is a secret. A value that came
// from a variable is not described further: the words could repeat it.
func valueError(key, typed string, secret bool, err error) error {
	switch {
	case secret && isLiteral(typed):
		return fmt.Errorf("%s: the value is not valid", key)
	case !isLiteral(typed):
		return fmt.Errorf("%s: what %s gives is not valid here", key, MaskURL(typed))
	}
	return fmt.Errorf("%s: %q %w", key, MaskURL(typed), err)
}

func (f field) assign(key, text string) error {
	if f.prefix != "" {
		item := reflect.New(f.value.Type().Elem()).Elem()
		if err := set(item, key, text); err != nil {
			return err
		}
		// The map may be shared with the defaults of others.
		fresh := reflect.MakeMap(f.value.Type())
		for entries := f.value.MapRange(); entries.Next(); {
			fresh.SetMapIndex(entries.Key(), entries.Value())
		}
		fresh.SetMapIndex(reflect.ValueOf(strings.TrimPrefix(key, f.prefix)).Convert(f.value.Type().Key()), item)
		f.value.Set(fresh)
		return nil
	}
	// A key without a value keeps its default, except where text may be empty.
	if text == "" && f.value.Kind() != reflect.String && f.value.Kind() != reflect.Slice {
		return nil
	}
	return set(f.value, f.name, text)
}

// isMisspelt says whether a key that Kafka Connect's converters or clients might
// have is all but one of this program's own.
func isMisspelt(key string, known []field) bool {
	return slices.ContainsFunc(known, func(f field) bool {
		return f.prefix == "" && strings.Count(f.name, ".") > 1 && levenshtein.ComputeDistance(key, f.name) <= 2
	})
}

func unknownKey(key string, known []field, framework []string) error {
	names := make([]string, 0, len(known)+len(framework))
	for _, f := range known {
		names = append(names, f.name)
	}
	if near := nearest(key, append(names, framework...)); near != "" {
		return fmt.Errorf("%s: unknown key; did you mean %s?", key, near)
	}
	return fmt.Errorf("%s: unknown key", key)
}

// nearest gives the name that key was likely meant to be, or "": the one with
// the fewest edits, if they are few for its length. Earlier names win a tie.
func nearest(key string, names []string) string {
	plain := strings.NewReplacer("_", ".", "-", ".").Replace(strings.ToLower(key))
	best, bestEdits := "", max(2, len(plain)/4)+1
	for _, name := range names {
		stem, star := strings.CutSuffix(name, "*")
		typed := plain
		if star {
			typed = plain[:min(len(plain), len(stem))]
		}
		if edits := levenshtein.ComputeDistance(typed, stem); edits < bestEdits {
			best, bestEdits = name, edits
		}
	}
	return best
}
