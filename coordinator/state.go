package coordinator

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/transport"
)

// maxStateFile bounds what is read from a state file, in bytes.
const maxStateFile = 1 << 20

// serialBlock is how many serials a coordinator reserves with one write of the
// state file: joining costs a write and a flush to disk once per block.
const serialBlock = 64

// A Token admits whoever presents it.
type Token struct {
	Secret  string    `json:"secret"`
	Expires time.Time `json:"expires,omitzero"` // zero: never
}

// String returns "[token]": a token is shown only on purpose, by its field.
func (t Token) String() string { return "[token]" }

// GoString is String.
func (t Token) GoString() string { return t.String() }

// State is what a coordinator remembers when it is started anew: its key, its
// tokens, and how far it has handed out ids. Members are not in it: they come
// back by themselves, with tickets. It may be used by one Server at a time, and
// its methods from any goroutine.
type State struct {
	path     string // empty: in memory only
	identity *transport.Identity

	mu   sync.Mutex
	file stateFile
}

// stateFile is the JSON text of a state file.
type stateFile struct {
	Version int     `json:"version"` // 1
	Seed    []byte  `json:"seed"`    // of the Ed25519 key (RFC 8032 section 5.1.5)
	Tokens  []Token `json:"tokens"`

	// Serial is the first serial that a coordinator started anew may hand out.
	// Serials count admissions and become ids (roster.go). A running coordinator
	// keeps it ahead of the serials that it uses, so that after a crash no id is
	// handed out again while its first holder may be about to come back.
	Serial uint64 `json:"serial"`

	// Listen is where the coordinator was listening last.
	Listen netip.AddrPort `json:"listen,omitzero"`
}

// NewState makes a key and a token that does not expire, kept in memory only.
func NewState() (*State, error) {
	s := &State{file: stateFile{Version: 1, Seed: make([]byte, ed25519.SeedSize)}}
	if _, err := rand.Read(s.file.Seed); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	s.file.Tokens = []Token{{Secret: rand.Text()}}
	return s, s.init()
}

// LoadOrCreateState reads the state file at path, or writes a new one. The file
// holds secrets: its mode is 0600, and a file that others can read or write, or
// that belongs to another user, is refused. Of two processes that create it at
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
	// link(2), unlike rename(2), does not replace a file that came meanwhile.
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
	// The decoder's error may quote what is in the file: it is left out.
	if d.Decode(&s.file) != nil || s.file.Version != 1 ||
		len(s.file.Seed) != ed25519.SeedSize || len(s.file.Tokens) == 0 {
		return nil, fmt.Errorf("state file %s: it is damaged or of another version; move it away, and a new coordinator (with a new join URL) is made", path)
	}
	for _, t := range s.file.Tokens {
		if err := checkToken(t.Secret); err != nil {
			return nil, fmt.Errorf("state file %s: %w", path, err)
		}
	}
	return s, s.init()
}

// checkPrivate refuses a file that another user may have written or can read.
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
		return fmt.Errorf("%s: mode %#o lets other users at it; chmod 600 it if they have not been", f.Name(), st.Mode&0o777)
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

// Pin returns what join URLs pin.
func (s *State) Pin() Pin { return PinOf(s.identity.Key()) }

// LastListen returns the UDP address where the coordinator with this state was
// listening last; the zero AddrPort if it never was. To listen there again lets
// its nodes find it again.
func (s *State) LastListen() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Listen
}

// Listen opens the coordinator's socket at addr. If addr leaves the port open,
// it takes the one of last time where that is still free, so that nodes that a
// coordinator has left behind find the next one.
func (s *State) Listen(addr netip.AddrPort) (*transport.Socket, error) {
	if last := s.LastListen(); addr.Port() == 0 && last.Port() != 0 {
		if socket, err := transport.Listen(netip.AddrPortFrom(addr.Addr(),
			last.Port())); err == nil {
			return socket, nil
		}
	}
	return transport.Listen(addr)
}

// Token returns the token that admits for the longest time from now.
func (s *State) Token() (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var best Token
	for _, t := range s.file.Tokens {
		if t.valid(time.Now()) && (best.Secret == "" || !best.Expires.IsZero() &&
			(t.Expires.IsZero() || t.Expires.After(best.Expires))) {
			best = t
		}
	}
	if best.Secret == "" {
		return best, fmt.Errorf("%w: the coordinator has no token that is still good",
			ErrExpired)
	}
	return best, nil
}

func (t Token) valid(now time.Time) bool {
	return t.Expires.IsZero() ||
		now.Before(t.Expires)
}

// AddToken makes one more token, good for ttl; for ever if ttl is zero.
func (s *State) AddToken(ttl time.Duration) (Token, error) {
	t := Token{Secret: rand.Text()}
	if ttl != 0 {
		t.Expires = time.Now().Add(ttl)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.file.Tokens = append(slices.Clone(s.file.Tokens), t)
	return t, s.saveLocked()
}

// admits checks a token against all that there are, in a time that depends
// neither on which one it is nor on where it begins to differ.
func (s *State) admits(secret string, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	given := sha256.Sum256([]byte(secret))
	known, good := 0, 0
	for _, t := range s.file.Tokens {
		want := sha256.Sum256([]byte(t.Secret))
		match := subtle.ConstantTimeCompare(given[:], want[:])
		known |= match
		if t.valid(now) {
			good |= match
		}
	}
	switch {
	case good == 1:
		return nil
	case known == 1:
		return refuse(codeExpired, "ask for a new join URL")
	}
	return refuse(codeToken, "take the join URL of this coordinator as it is now")
}

// serial returns the first serial that may be handed out.
func (s *State) serial() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.file.Serial
}

// setSerial keeps the first serial that a coordinator started anew may hand out.
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

// saveLocked replaces the file: whoever reads it, and whatever crash comes in
// between, finds the old one or the new one, whole.
func (s *State) saveLocked() error {
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
	return syncDir(s.path)
}

// writeTemp writes the state into a new file of mode 0600 beside the state file,
// flushes it to disk and returns its name.
func (s *State) writeTemp() (name string, err error) {
	text, err := json.MarshalIndent(&s.file, "", "\t")
	if err != nil {
		return "", fmt.Errorf("encode state: %w", err)
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
