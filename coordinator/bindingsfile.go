package coordinator

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// maxBindingsFile limits what is read from a bindings file, in bytes. A binding takes at
// most about 110 bytes.
const maxBindingsFile = 4 << 20

// A bindingsFile is the JSON text of the file that stores the bindings, beside the state
// file. It is a file of its own for two reasons. It is written often and holds no secret.
// And a coordinator of an older version, which does not know it, still reads the state
// file.
type bindingsFile struct {
	Version int `json:"version"` // 1

	// Clean says that the coordinator wrote the file when it stopped. Otherwise a change
	// of the last second may be missing.
	Clean bool      `json:"clean"`
	Names []binding `json:"names"` // the one that was freed first is first
}

// bindingsPath returns the name of the bindings file, or "" if there is none.
func (s *State) bindingsPath() string {
	if s.path == "" {
		return ""
	}
	return s.path + ".names"
}

// loadBindings reads the bindings of the last run. After a crash all of them may be
// reclaimable.
func (s *State) loadBindings() ([]binding, error) {
	path := s.bindingsPath()
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("open names file: %w", err)
	}
	defer f.Close()
	if err := checkPrivate(f); err != nil {
		return nil, fmt.Errorf("names file: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxBindingsFile))
	if err != nil {
		return nil, fmt.Errorf("read names file: %w", err)
	}
	all, err := parseBindings(text)
	if err != nil {
		return nil, fmt.Errorf("names file %s: %w", path, err)
	}
	return all, nil
}

// parseBindings parses the text of a bindings file.
func parseBindings(text []byte) ([]binding, error) {
	var file bindingsFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if d.Decode(&file) != nil || file.Version != 1 {
		return nil, errors.New("it is damaged or of another version")
	}
	for i := range file.Names {
		v := &file.Names[i]
		if name, err := CheckName(v.Name); err != nil || name != v.Name || v.ID == 0 ||
			v.ID > maxNodes {
			return nil, fmt.Errorf("entry %d is not a name with an id", i+1)
		}
		v.Reclaimable = v.Reclaimable || !file.Clean
	}
	return file.Names, nil
}

// saveBindings replaces the bindings file. It does not flush the file to the disk, so
// that a join never waits for one. A power failure may lose bindings.
func (s *State) saveBindings(all []binding, clean bool) error {
	path := s.bindingsPath()
	if path == "" {
		return nil
	}
	text, err := json.Marshal(&bindingsFile{Version: 1, Clean: clean, Names: all})
	if err != nil {
		return fmt.Errorf("encode names: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*.new")
	if err != nil {
		return fmt.Errorf("write names file: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return fmt.Errorf("write names file: %w", err)
	}
	return nil
}
