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

// Variables says what the variables of connectors may read: who may make connectors
// chooses. The keys are those of Kafka's providers; the zero value lets them read all that
// the process may.
type Variables struct {
	FilePaths  []string `json:"config.providers.file.param.allowed.paths" jsonschema:"description=Absolute paths of files and folders from which ${file:path:key} in connectors may read. Empty: from all that the process may read."`
	DirPaths   []string `json:"config.providers.dir.param.allowed.paths" jsonschema:"description=Absolute paths of folders from which ${dir:path:name} in connectors may read. Empty: from all."`
	EnvPattern string   `json:"config.providers.env.param.allowlist.pattern" jsonschema:"description=Pattern that the whole name of an environment variable must match for ${env:NAME} in connectors to read it. Empty: all."`
}

// Validate checks the paths and the pattern.
func (v *Variables) Validate() error {
	var errs []error
	for key, paths := range map[string][]string{
		"config.providers.file.param.allowed.paths": v.FilePaths, "config.providers.dir.param.allowed.paths": v.DirPaths,
	} {
		for _, path := range paths {
			if !filepath.IsAbs(path) {
				errs = append(errs, fmt.Errorf("%s: %q is no absolute path", key, path))
			}
		}
	}
	if _, err := regexp.Compile(v.EnvPattern); err != nil {
		errs = append(errs, fmt.Errorf("config.providers.env.param.allowlist.pattern: %w", err))
	}
	return errors.Join(errs...)
}

// allows says whether a path is one of those that are allowed, or below one. Links count
// as what they lead to.
func allows(allowed []string, path string) bool {
	if len(allowed) == 0 {
		return true
	}
	target := func(path string) string {
		if to, err := filepath.EvalSymlinks(path); err == nil {
			path = to
		}
		return filepath.Clean(path)
	}
	if !filepath.IsAbs(path) {
		return false
	}
	for _, one := range allowed {
		inside, err := filepath.Rel(target(one), target(path))
		if err == nil && filepath.IsLocal(inside) {
			return true
		}
	}
	return false
}

// Resolve replaces the variables in a value:
//
//	${env:NAME}        the environment variable
//	${file:path:key}   the key of a Java properties file
//	${dir:path:name}   the content of the file path/name, as mounted secrets are
//
// What they give is not searched for variables again. An error names the
// variable, never a value.
func Resolve(value string) (string, error) {
	resolved, _, err := new(Variables).resolve(value)
	return resolved, err
}

// resolve also gives what each variable gave.
func (v *Variables) resolve(value string) (_ string, given []string, _ error) {
	var errs []error
	resolved := variable.ReplaceAllStringFunc(value, func(text string) string {
		m := variable.FindStringSubmatch(text)
		got, err := v.lookup(m[1], m[2], m[3])
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

// errNotAllowed is told of what is there and of what is not alike.
func errNotAllowed(key string) error {
	return fmt.Errorf("%s does not allow it", key)
}

func (v *Variables) lookup(provider, path, key string) (string, error) {
	switch provider {
	case "env":
		if path != "" {
			return "", errors.New("write it as ${env:NAME}")
		}
		if v.EnvPattern != "" {
			allowed, err := regexp.Compile("^(?:" + v.EnvPattern + ")$")
			if err != nil || !allowed.MatchString(key) {
				return "", errNotAllowed("config.providers.env.param.allowlist.pattern")
			}
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
		if !allows(v.FilePaths, path) {
			return "", errNotAllowed("config.providers.file.param.allowed.paths")
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
		if !allows(v.DirPaths, filepath.Join(path, key)) {
			return "", errNotAllowed("config.providers.dir.param.allowed.paths")
		}
		data, err := readValues(filepath.Join(path, key))
		if err != nil {
			return "", err
		}
		return strings.TrimRight(string(data), "\r\n"), nil
	}
	return "", fmt.Errorf("there is no provider %q; there are env, file and dir", provider)
}
