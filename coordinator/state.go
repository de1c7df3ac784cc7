package coordinator

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/transport"
)

// maxStateFile limits a state file, in bytes.
const maxStateFile = 16 << 20

// serialBlock is the number of serials that a coordinator reserves with one write of the
// state file. So joins cost one write and one flush to the disk per block.
const serialBlock = 64

// A State is what a coordinator remembers across restarts: its key, its tokens, and the
// ids that it has assigned. Members are not in it: they rejoin with tickets. One Server
// at a time may use it. Any goroutine may call its methods.
type State struct {
	path     string // empty: in memory only
	identity *transport.Identity

	mu   sync.Mutex
	file stateFile
	// unsaved are the tokens, by name, that the state has forgotten and the file has not.
	unsaved map[string]grant
}

// A stateFile is the JSON text of a state file.
type stateFile struct {
	Version int     `json:"version"` // 1
	Seed    []byte  `json:"seed"`    // of the Ed25519 key (RFC 8032 section 5.1.5)
	Tokens  []Token `json:"tokens"`

	// Serial is the first serial that a restarted coordinator may use. Serials count
	// admissions and determine ids (membership.go). A running coordinator keeps Serial
	// ahead of those in use. So after a crash no id is assigned again while its first
	// holder may come back.
	Serial uint64 `json:"serial"`

	// Listen is the last address on which the coordinator listened.
	Listen netip.AddrPort `json:"listen,omitzero"`

	// Older versions of boxer refuse a file with any of the following.

	// Named are the tokens that AddNamedToken has created.
	Named []namedToken `json:"named,omitempty"`
	// DefaultEvicted is set if the tickets of nodes that joined with one of Tokens are
	// not accepted any more.
	DefaultEvicted bool `json:"default_evicted,omitempty"`
	// Evicted are the keys of nodes that an operator has removed, the last one last.
	Evicted []transport.Key `json:"evicted,omitempty"`
}

// NewState creates a key and a token that does not expire, in memory only.
func NewState() (*State, error) {
	s := &State{file: stateFile{Version: 1, Seed: make([]byte, ed25519.SeedSize)}}
	if _, err := rand.Read(s.file.Seed); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	s.file.Tokens = []Token{{Secret: rand.Text()}}
	return s, s.init()
}

// LoadOrCreateState reads the state file at path, or creates a new one. The file holds
// secrets. Its mode is 0600, and LoadOrCreateState refuses a file that other users can
// read or write, or that belongs to another user. If two processes create the file at
// once, one wins and both use its file.
func LoadOrCreateState(path string) (*State, error) {
	s, err := loadState(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	if s, err = NewState(); err != nil {
		return nil, err
	}
	s.path = path
	tmp, err := s.writeTemp()
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp)
	// link(2), unlike rename(2), does not replace a file that another process has
	// created.
	if err := os.Link(tmp, path); errors.Is(err, fs.ErrExist) {
		return loadState(path)
	} else if err != nil {
		return nil, fmt.Errorf("create state file: %w", err)
	}
	return s, syncDir(path)
}

func loadState(path string) (*State, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open state file: %w", err)
	}
	defer f.Close()
	if err := checkPrivate(f); err != nil {
		return nil, fmt.Errorf("state file: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxStateFile))
	if err != nil {
		return nil, fmt.Errorf("read state file: %w", err)
	}
	s := &State{path: path}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	// The decoder's error is omitted, since it may quote the file.
	if d.Decode(&s.file) != nil || s.file.Version != 1 ||
		len(s.file.Seed) != ed25519.SeedSize || s.file.Tokens == nil {
		return nil, fmt.Errorf("state file %s: it is damaged or of another version; move it away, and boxer creates a new coordinator with a new join URL", path)
	}
	for _, t := range s.file.Tokens {
		if err := checkToken(t.Secret); err != nil {
			return nil, fmt.Errorf("state file %s: %w", path, err)
		}
	}
	return s, s.init()
}

// checkPrivate refuses a file that other users can read or may have written.
func checkPrivate(f *os.File) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("stat %s: %w", f.Name(), err)
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return fmt.Errorf("%s: not a regular file", f.Name())
	case int(st.Uid) != os.Geteuid():
		return fmt.Errorf("%s: belongs to user %d, not to this user (%d)", f.Name(),
			st.Uid, os.Geteuid())
	case st.Mode&0o077 != 0:
		return fmt.Errorf("%s: mode %#o gives other users access; if none has used it, run chmod 600", f.Name(), st.Mode&0o777)
	}
	return nil
}

func (s *State) init() error {
	id, err := transport.IdentityFromSeed(s.file.Seed)
	if err != nil {
		return fmt.Errorf("coordinator key: %w", err)
	}
	s.identity = id
	return nil
}

// Identity returns the coordinator's key.
func (s *State) Identity() *transport.Identity { return s.identity }

// Pin returns the pin in this coordinator's join URLs.
func (s *State) Pin() Pin { return PinOf(s.identity.Key()) }

// LastListen returns the UDP address on which the coordinator with this state last
// listened, or the zero AddrPort. A coordinator that listens there again is found by its
// nodes.
func (s *State) LastListen() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Listen
}

// Listen opens the coordinator's socket at addr. If addr has no port, it tries the last
// port first, so that nodes of the last run find the coordinator.
func (s *State) Listen(addr netip.AddrPort) (*transport.Socket, error) {
	if last := s.LastListen(); addr.Port() == 0 && last.Port() != 0 {
		if socket, err := transport.Listen(netip.AddrPortFrom(addr.Addr(),
			last.Port())); err == nil {
			return socket, nil
		}
	}
	return transport.Listen(addr)
}

// serial returns the first serial that may be used.
func (s *State) serial() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Serial
}

// setSerial saves the first serial that a restarted coordinator may use.
func (s *State) setSerial(n uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file.Serial == n {
		return nil
	}
	s.file.Serial = n
	return s.saveLocked()
}

func (s *State) setListen(addr netip.AddrPort) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file.Listen == addr {
		return nil
	}
	s.file.Listen = addr
	return s.saveLocked()
}

// saveLocked replaces the file. A reader, and a start after a crash, finds either the old
// file or the new one, complete.
func (s *State) saveLocked() error {
	s.forgetUsesLocked(time.Now())
	if s.path == "" {
		return nil
	}
	tmp, err := s.writeTemp()
	if err != nil {
		return err
	}
	if err := os.Rename(tmp, s.path); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("replace state file: %w", err)
	}
	clear(s.unsaved)
	return syncDir(s.path)
}

// writeTemp writes the state into a new file of mode 0600 beside the state file, flushes
// it to the disk, and returns its name.
func (s *State) writeTemp() (name string, err error) {
	text, err := json.MarshalIndent(&s.file, "", "\t")
	if err != nil {
		return "", fmt.Errorf("encode state: %w", err)
	}
	if n := len(text) + 1; n > maxStateFile {
		return "", fmt.Errorf("state file %s: it would have %d bytes, the most is %d; remove tokens by token revoke --evict",
			s.path, n, maxStateFile)
	}
	f, err := os.CreateTemp(filepath.Dir(s.path), filepath.Base(s.path)+".*.new")
	if err != nil {
		return "", fmt.Errorf("write state file: %w", err)
	}
	_, err = f.Write(append(text, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return "", fmt.Errorf("write state file: %w", err)
	}
	return f.Name(), nil
}

// syncDir flushes the directory entry of path (fsync(2), Notes).
func syncDir(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("flush state directory: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("flush state directory: %w", err)
	}
	return nil
}
