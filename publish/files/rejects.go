package files

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// rejects keeps rejected lines, byte by byte. The file is made by the first one
// and never emptied.
type rejects struct {
	path string
	// header is the first line of a CSV file, so that what is kept is one, too.
	header []byte
	file   *os.File
	dirty  bool
	// failed is an fsync's error. A second one may succeed and mean nothing: the
	// kernel drops what it could not write.
	failed error
}

// rejectPath is where the rejected lines of a file go unless it is said.
func rejectPath(name string) string {
	if name == Stdin {
		return "stdin.rejected"
	}
	name = filepath.Base(name)
	for _, suffix := range []string{".gz", ".zst", ".zstd"} {
		name = strings.TrimSuffix(name, suffix)
	}
	return name + ".rejected"
}

// check refuses a file of rejected lines that is also published.
func (r *rejects) check(published string) error {
	a, errA := os.Stat(r.path)
	b, errB := os.Stat(published)
	if errA == nil && errB == nil && os.SameFile(a, b) {
		return fmt.Errorf("--reject: %s is the file that is published; name another", r.path)
	}
	if errA == nil && a.IsDir() {
		return fmt.Errorf("--reject: %s is a folder; name a file", r.path)
	}
	return nil
}

// Write adds a part of a line.
func (r *rejects) Write(p []byte) (int, error) {
	if r.file == nil {
		if err := r.open(); err != nil {
			return 0, err
		}
	}
	r.dirty = true
	n, err := r.file.Write(p)
	if err != nil {
		return n, fmt.Errorf("keeping a rejected line (name another file with --reject): %w", err)
	}
	return n, nil
}

func (r *rejects) open() error {
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o644)
	if err != nil {
		var path *fs.PathError
		if errors.As(err, &path) {
			err = path.Err
		}
		return fmt.Errorf("opening %s for rejected lines (name another file with --reject): %w", r.path, err)
	}
	r.file = f
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() == 0 {
		_, err = f.Write(r.header)
		return err
	}
	// A line that was cut off must not run into the next one.
	last := make([]byte, 1)
	if info.Mode().IsRegular() {
		if _, err := f.ReadAt(last, info.Size()-1); err == nil && last[0] != '\n' {
			_, err = f.Write(newline)
			return err
		}
	}
	return nil
}

// sync makes sure that what was added outlives the machine: the place must not
// go on before.
func (r *rejects) sync() error {
	if r.failed != nil || !r.dirty {
		return r.failed
	}
	r.dirty = false
	if err := r.file.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		if info, e := r.file.Stat(); e == nil && !info.Mode().IsRegular() {
			return nil // such as /dev/stderr
		}
		r.failed = fmt.Errorf("keeping rejected lines in %s: %w", r.path, err)
	}
	return r.failed
}

func (r *rejects) close() {
	if r.file != nil {
		r.file.Close()
	}
}
