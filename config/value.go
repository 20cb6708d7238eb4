package config

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// set gives a value its text. The error says what is wrong with the text and
// does not repeat it.
func set(v reflect.Value, name, text string) error {
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		fresh := reflect.New(t.Elem())
		if err := set(fresh.Elem(), name, text); err != nil {
			return err
		}
		v.Set(fresh)
		return nil
	}
	if t == durationType {
		d, err := parseDuration(name, text)
		if err == nil {
			v.SetInt(int64(d))
		}
		return err
	}
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		return setText(u, t, text)
	}
	switch t.Kind() {
	case reflect.String:
		if strings.HasSuffix(name, ".regex") {
			if _, err := regexp.Compile(text); err != nil {
				return regexError(err)
			}
		}
		v.SetString(text)
		return nil
	case reflect.Bool:
		return setBool(v, text)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		n, err := parseInt(name, text)
		if err == nil && v.OverflowInt(n) {
			err = errTooLarge
		}
		if err == nil {
			v.SetInt(n)
		}
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		n, err := parseInt(name, text)
		if err == nil && n < 0 {
			err = errors.New("is negative")
		}
		if err == nil && v.OverflowUint(uint64(n)) {
			err = errTooLarge
		}
		if err == nil {
			v.SetUint(uint64(n))
		}
		return err
	case reflect.Float32, reflect.Float64:
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || math.IsNaN(n) || math.IsInf(n, 0) || v.OverflowFloat(n) {
			return errors.New("is not a number")
		}
		v.SetFloat(n)
		return nil
	case reflect.Slice:
		return setList(v, name, text)
	}
	panic(fmt.Sprintf("config: %s: no value can be decoded into a %s", name, t))
}

var errTooLarge = errors.New("is too large")

func setText(u encoding.TextUnmarshaler, t reflect.Type, text string) error {
	err := u.UnmarshalText([]byte(text))
	switch {
	case err == nil:
		return nil
	case t == timeType:
		return errors.New("is not a time such as 2026-01-31T12:00:00Z")
	case t == reflect.TypeFor[regexp.Regexp]():
		return regexError(err)
	}
	return fmt.Errorf("is not valid: %w", err)
}

func regexError(err error) error {
	return fmt.Errorf("is not a regular expression: %s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}

// setBool takes true and false in any case, as Kafka Connect does.
func setBool(v reflect.Value, text string) error {
	switch strings.ToLower(strings.TrimSpace(text)) {
	case "true":
		v.SetBool(true)
	case "false":
		v.SetBool(false)
	default:
		return errors.New("is neither true nor false")
	}
	return nil
}

// setList divides the text at its commas, without the spaces around a value and
// without empty ones.
func setList(v reflect.Value, name, text string) error {
	list := reflect.MakeSlice(v.Type(), 0, 0)
	for part := range strings.SplitSeq(text, ",") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		if err := set(item, name, part); err != nil {
			return fmt.Errorf("%q in the list %w", part, err)
		}
		list = reflect.Append(list, item)
	}
	if list.Len() == 0 {
		list = reflect.Zero(v.Type())
	}
	v.Set(list)
	return nil
}

// parseDuration takes a Go duration such as 1m30s, whole days such as 7d, and
// for a key that ends in .ms a number of milliseconds.
func parseDuration(name, text string) (time.Duration, error) {
	text = strings.TrimSpace(text)
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n == 0 {
			return 0, nil
		}
		if !strings.HasSuffix(name, ".ms") {
			return 0, errors.New("has no unit; write it as 500ms, 30s or 7d")
		}
		return scaled(n, time.Millisecond)
	}
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 64); err == nil {
			return scaled(n, 24*time.Hour)
		}
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		if strings.HasSuffix(name, ".ms") {
			return 0, errors.New("is neither a number of milliseconds nor a duration such as 500ms, 30s or 7d")
		}
		return 0, errors.New("is not a duration such as 500ms, 30s or 7d")
	}
	return d, nil
}

func scaled(n int64, unit time.Duration) (time.Duration, error) {
	if n > math.MaxInt64/int64(unit) || n < math.MinInt64/int64(unit) {
		return 0, errTooLarge
	}
	return time.Duration(n) * unit, nil
}

// sizeUnits are tried in order: the longer ones before those that they end in.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	{"kib", 1 << 10},
	{"mib", 1 << 20},
	{"gib", 1 << 30},
	{"kb", 1e3},
	{"mb", 1e6},
	{"gb", 1e9},
	{"b", 1},
}

// parseInt takes a whole number; for a key that ends in .ms also a duration, and
// for a size in bytes also one with a unit, such as 64MiB (1024) or 64MB (1000).
func parseInt(name, text string) (int64, error) {
	text = strings.TrimSpace(text)
	if strings.HasSuffix(name, ".ms") {
		d, err := parseDuration(name, text)
		return d.Milliseconds(), err
	}
	n, err := strconv.ParseInt(text, 10, 64)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, strconv.ErrRange):
		return 0, errTooLarge
	case !isSize(name):
		return 0, errors.New("is not a whole number")
	}
	lower := strings.ToLower(text)
	for _, unit := range sizeUnits {
		digits, ok := strings.CutSuffix(lower, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil {
			break
		}
		if n > math.MaxInt64/unit.bytes {
			return 0, errTooLarge
		}
		return n * unit.bytes, nil
	}
	return 0, errors.New("is not a size such as 1048576 or 64MiB")
}
