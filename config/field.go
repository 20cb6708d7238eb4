package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// field is one key of a configuration struct.
type field struct {
	name string
	// prefix is set for a map: it takes every key that begins with it. The name is
	// then the prefix and a star.
	prefix string
	secret bool
	tag    reflect.StructTag
	value  reflect.Value
}

// fields lists the keys of target, a pointer to a struct, in its order. Embedded
// structs belong to the struct around them; a field without a json tag is no key.
// A target that is not well made is a fault of the program: it panics.
func fields(target any) []field {
	v := reflect.ValueOf(target)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: %T is not a pointer to a struct", target))
	}
	return structFields(v.Elem())
}

func structFields(v reflect.Value) []field {
	var list []field
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, _, _ := strings.Cut(sf.Tag.Get("json"), ",")
		if sf.Anonymous && sf.Type.Kind() == reflect.Struct && name == "" {
			list = append(list, structFields(v.Field(i))...)
			continue
		}
		if name == "" || name == "-" || !sf.IsExported() {
			continue
		}
		f := field{name: name, tag: sf.Tag, value: v.Field(i), secret: isSecret(name, sf)}
		if prefix, ok := strings.CutSuffix(name, "*"); ok {
			if sf.Type.Kind() != reflect.Map || sf.Type.Key().Kind() != reflect.String {
				panic(fmt.Sprintf("config: %s: a key with a star needs a map by string", name))
			}
			f.prefix = prefix
		}
		if kindOf(f) == "" {
			panic(fmt.Sprintf("config: %s: no value can be decoded into a %s", name, sf.Type))
		}
		list = append(list, f)
	}
	return list
}

var (
	secretType      = reflect.TypeFor[Secret]()
	durationType    = reflect.TypeFor[time.Duration]()
	timeType        = reflect.TypeFor[time.Time]()
	textUnmarshaler = reflect.TypeFor[encoding.TextUnmarshaler]()
)

// isSecret says whether a key's value must not be seen. Connectors cannot use
// the type Secret, which is not theirs to import: they mark the field with the
// tag secret:"true" or with format=password, or its name says it.
func isSecret(name string, sf reflect.StructField) bool {
	if sf.Type == secretType || sf.Tag.Get("secret") == "true" {
		return true
	}
	if slices.Contains(strings.Split(sf.Tag.Get("jsonschema"), ","), "format=password") {
		return true
	}
	if sf.Type.Kind() != reflect.String {
		return false
	}
	for part := range strings.SplitSeq(strings.ToLower(name), ".") {
		switch part {
		case "password", "secret", "token", "passphrase":
			return true
		}
	}
	return false
}

// kindOf names what a key takes, for people, or is "" where nothing can be
// decoded into it.
func kindOf(f field) string {
	if f.prefix != "" {
		if kindOfType(f.name, f.value.Type().Elem()) == "" {
			return ""
		}
		return "map"
	}
	if f.secret {
		return "password"
	}
	return kindOfType(f.name, f.value.Type())
}

func kindOfType(name string, t reflect.Type) string {
	switch {
	case t == durationType:
		return "duration"
	case t == timeType:
		return "time"
	case t.Implements(textUnmarshaler) || reflect.PointerTo(t).Implements(textUnmarshaler):
		if strings.HasSuffix(t.String(), "regexp.Regexp") {
			return "regex"
		}
		return "string"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kindOfType(name, t.Elem())
	case reflect.String:
		if strings.HasSuffix(name, ".regex") {
			return "regex"
		}
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		switch {
		case isSize(name):
			return "bytes"
		case strings.HasSuffix(name, ".ms"):
			return "duration"
		}
		return "int"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.Slice:
		if kindOfType(name, t.Elem()) != "" {
			return "list"
		}
	}
	return ""
}

// isSize says whether a key's number is a size in bytes.
func isSize(name string) bool { return strings.HasSuffix(name, ".bytes") }
