package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// variable is Kafka Connect's form: ${provider:key} or ${provider:path:key}.
// ${topic} and other names without a colon are none.
var variable = regexp.MustCompile(`\$\{([^}:]*):(?:([^}]*):)?([^}:]*)\}`)

// Resolve replaces the variables in a value:
//
//	${env:NAME}        the environment variable
//	${file:path:key}   the key of a Java properties file
//	${dir:path:name}   the content of the file path/name, as mounted secrets are
//
// What they give is not searched for variables again. An error names the
// variable, never a value.
func Resolve(value string) (string, error) {
	resolved, _, err := resolve(value)
	return resolved, err
}

// resolve also gives what each variable gave.
func resolve(value string) (_ string, given []string, _ error) {
	var errs []error
	resolved := variable.ReplaceAllStringFunc(value, func(text string) string {
		m := variable.FindStringSubmatch(text)
		got, err := lookup(m[1], m[2], m[3])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", text, err))
		}
		given = append(given, got)
		return got
	})
	if len(errs) > 0 {
		return "", nil, errors.Join(errs...)
	}
	return resolved, given, nil
}

// valuesBytesMax bounds a file that holds values.
const valuesBytesMax = 1 << 20

// readValues reads a file that a variable names, which anybody who may check a
// configuration can choose: no pipe that never ends, and none without end.
func readValues(path string) ([]byte, error) {
	// Opening a pipe would wait for its writer.
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file with values", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, valuesBytesMax+1))
	if err == nil && len(data) > valuesBytesMax {
		err = fmt.Errorf("%s is larger than %d bytes", path, valuesBytesMax)
	}
	return data, err
}

// isLiteral says whether a value is written out in the file.
func isLiteral(value string) bool { return !variable.MatchString(value) }

func lookup(provider, path, key string) (string, error) {
	switch provider {
	case "env":
		if path != "" {
			return "", errors.New("write it as ${env:NAME}")
		}
		value, ok := os.LookupEnv(key)
		if !ok {
			return "", fmt.Errorf("the environment variable %s is not set", key)
		}
		return value, nil
	case "file":
		if path == "" {
			return "", errors.New("write it as ${file:path:key}")
		}
		data, err := readValues(path)
		if err != nil {
			return "", err
		}
		value, ok := parseProperties(string(data))[key]
		if !ok {
			return "", fmt.Errorf("%s has no key %s", path, key)
		}
		return value, nil
	case "dir":
		if path == "" || key == "" || filepath.Base(key) != key {
			return "", errors.New("write it as ${dir:path:filename}")
		}
		data, err := readValues(filepath.Join(path, key))
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(data), "\r\n"), nil
	}
	return "", fmt.Errorf("there is no provider %q; there are env, file and dir", provider)
}
