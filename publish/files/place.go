package files

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofrs/flock"
)

// place is how far a file was published to a cluster.
type place struct {
	Path    string `json:"path"`
	Cluster string `json:"cluster"`
	// The file, as it was.
	Size      int64     `json:"size"`
	Modified  time.Time `json:"modified"`
	HeadBytes int64     `json:"head_bytes"`
	Head      string    `json:"head"`

	Settings settings `json:"settings"`
	// Run is in the header of each record.
	Run string `json:"run"`
	// Offset is the first byte, uncompressed, that is not accounted for: the lines
	// before it are published or rejected. Line counts them.
	Offset int64 `json:"offset"`
	Line   int64 `json:"line"`
	// Last is the hash of the last of these lines, which begins at LastOffset.
	LastOffset int64  `json:"last_offset"`
	Last       string `json:"last"`
	Published  int64  `json:"published"`
	Rejected   int64  `json:"rejected"`
	// Next bounds where lines from Offset on may lie in a topic's partitions; in those
	// that are not there, no earlier than Since.
	Next  map[string]map[int32]int64 `json:"next,omitempty"`
	Since time.Time                  `json:"since"`
	// Clean says that no line from Offset on was sent.
	Clean    bool `json:"clean"`
	Finished bool `json:"finished"`
	// Cut says that the file ended in the middle of the line at Offset, which is
	// counted as rejected.
	Cut bool `json:"cut,omitempty"`
	// Unterminated says that the last line had no newline.
	Unterminated bool `json:"unterminated,omitempty"`
}

// settings are what a file must be gone on with as it was begun.
type settings struct {
	Kind     string   `json:"kind"`
	Exchange string   `json:"exchange,omitempty"`
	Layout   string   `json:"layout"`
	Format   Format   `json:"format"`
	Columns  []Column `json:"columns,omitempty"`
}

func (s settings) equal(o settings) bool {
	return s.Kind == o.Kind && s.Exchange == o.Exchange && s.Layout == o.Layout && s.Format == o.Format && slices.Equal(s.Columns, o.Columns)
}

// flags writes the settings as they are typed.
func (s settings) flags() string {
	flags := []string{"--kind " + s.Kind, "--layout " + s.Layout, "--format " + string(s.Format)}
	if s.Exchange != "" {
		flags = append(flags, "--exchange "+s.Exchange)
	}
	for _, c := range s.Columns {
		flags = append(flags, "--map "+c.Name+"="+c.Field)
	}
	return strings.Join(flags, " ")
}

// ErrChanged says that a file is not the one whose place was kept.
var ErrChanged = errors.New("the file has changed since it was published in part or whole")

// change says how a file differs from the one of the place. A file that only
// grew is gone on with, once the last line was seen to be the same.
func (p *place) change(in *input) (grown bool, err error) {
	changed := func(what string) error {
		return fmt.Errorf("%w: %s: %s; lines before line %d were published. If it is a new file, give it a new name, or "+
			"--restart to publish all of it", ErrChanged, in.name, what, p.Line+1)
	}
	switch {
	case in.size < p.Size:
		return false, changed(fmt.Sprintf("it had %d bytes and has %d", p.Size, in.size))
	case in.headHash(p.HeadBytes) != p.Head:
		return false, changed("it begins otherwise")
	case in.size > p.Size:
		return true, nil
	case !in.since.Equal(p.Modified):
		return false, changed("it was written to, at the same size")
	}
	return false, nil
}

// store keeps places, each in a file of its own.
type store struct{ dir string }

// kept is the place of one file, which no other process has.
type kept struct {
	place
	path string
	lock *flock.Flock
}

// open gives the place of a file in a cluster; one without a Run where none is
// kept, or where it is to be forgotten.
func (s store) open(path, cluster string, forget bool) (*kept, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the folder for the place in files (name another with --state): %w", err)
	}
	name := filepath.Join(s.dir, hash([]byte(cluster + "\x00" + path))[:32])
	lock := flock.New(name + ".lock")
	if got, err := lock.TryLock(); err != nil {
		return nil, fmt.Errorf("locking the place of %s (name another folder with --state): %w", path, err)
	} else if !got {
		return nil, fmt.Errorf("%s is being published by another process; wait for it, or end it", path)
	}
	k := &kept{path: name + ".json", lock: lock}
	if forget {
		return k, nil
	}
	text, err := os.ReadFile(k.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return k, nil
	case err == nil:
		err = json.Unmarshal(text, &k.place)
	}
	if err == nil && k.Path != path {
		err = fmt.Errorf("it is of %s", k.Path)
	}
	if err != nil {
		k.close()
		return nil, fmt.Errorf("%s, the place in %s, cannot be read: %w; with --restart all of the file is published", k.path, path, err)
	}
	return k, nil
}

func (k *kept) close() {
	_ = k.lock.Unlock() // the process's end does it, too
}

// save replaces what is kept, in one step and through a crash of the machine.
func (k *kept) save() error {
	text, err := json.MarshalIndent(&k.place, "", "  ")
	if err == nil {
		err = writeFile(k.path, text)
	}
	if err != nil {
		return fmt.Errorf("saving the place in %s: %w", k.Path, err)
	}
	return nil
}

func writeFile(path string, content []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // there is none after the rename
	_, err = f.Write(content)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	if dir, err := os.Open(filepath.Dir(path)); err == nil {
		_ = dir.Sync() // not every system can
		dir.Close()
	}
	return nil
}
