package config

import (
	"encoding"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Key documents one key of a configuration.
type Key struct {
	Name string `json:"name"`
	// Type is string, password, boolean, int, number, bytes, duration, time, regex,
	// list or map.
	Type string `json:"type"`
	// Default is the text that gives the default, or "" where there is none.
	Default string `json:"default"`
	// Required says that the key has no default and cannot be left out.
	Required bool `json:"required"`
	// Importance is high, medium or low.
	Importance    string   `json:"importance"`
	Documentation string   `json:"documentation"`
	Valid         []string `json:"valid,omitempty"`
	Minimum       string   `json:"minimum,omitempty"`
	Maximum       string   `json:"maximum,omitempty"`
}

// Describe lists the keys of target, a pointer to a struct that holds the
// defaults, in its order. The texts come from its tags:
//
//	json:"batch.size"
//	jsonschema:"required,description=What it decides.,minimum=1,maximum=100000,enum=a,enum=b"
//	importance:"high"
//
// A comma within a description needs no escape. A jsonschema tag without any of
// these words is the description as a whole.
func Describe(target any) []Key {
	list := fields(target)
	keys := make([]Key, 0, len(list))
	for _, f := range list {
		key := Key{Name: f.name, Type: kindOf(f), Importance: f.tag.Get("importance")}
		if key.Importance == "" {
			key.Importance = "medium"
		}
		key.readSchema(f.tag.Get("jsonschema"))
		if text := f.tag.Get("jsonschema_description"); text != "" {
			key.Documentation = text
		}
		if key.Type != "password" && key.Type != "map" {
			key.Default = defaultText(f.name, f.value)
		}
		if key.Default != "" {
			key.Required = false
		}
		keys = append(keys, key)
	}
	return keys
}

// readSchema reads a jsonschema tag.
func (k *Key) readSchema(tag string) {
	// A backslash before a comma is how some readers of this tag escape it.
	tag = strings.ReplaceAll(tag, `\,`, "\x00")
	text := &k.Documentation
	for i, part := range strings.Split(tag, ",") {
		word, value, _ := strings.Cut(part, "=")
		switch word {
		case "description":
			k.Documentation = value
		case "required":
			k.Required = true
		case "enum":
			k.Valid = append(k.Valid, value)
		case "minimum":
			k.Minimum = value
		case "maximum":
			k.Maximum = value
		case "title", "default", "example", "format", "pattern", "type", "minLength", "maxLength":
		default:
			if i > 0 {
				*text += ","
			}
			*text += part
		}
	}
	k.Documentation = strings.ReplaceAll(k.Documentation, "\x00", ",")
}

// defaultText is the text that Decode would turn into the value.
func defaultText(name string, v reflect.Value) string {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return ""
		}
		if re, ok := v.Interface().(*regexp.Regexp); ok {
			return re.String()
		}
		return defaultText(name, v.Elem())
	}
	switch value := v.Interface().(type) {
	case time.Duration:
		if strings.HasSuffix(name, ".ms") {
			return strconv.FormatInt(value.Milliseconds(), 10)
		}
		return durationText(value)
	case time.Time:
		if value.IsZero() {
			return ""
		}
		return value.Format(time.RFC3339)
	case encoding.TextMarshaler:
		text, err := value.MarshalText()
		if err != nil {
			return ""
		}
		return string(text)
	}
	if v.Kind() == reflect.Slice {
		items := make([]string, v.Len())
		for i := range items {
			items[i] = defaultText(name, v.Index(i))
		}
		return strings.Join(items, ",")
	}
	return fmt.Sprint(v.Interface())
}

// durationText is a duration without the parts that are zero: 1h, not 1h0m0s.
func durationText(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
