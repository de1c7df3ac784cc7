package coordinator

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
	"github.com/boxer-sandbox/boxer/transport"
)

func TestStateComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	s, err := LoadOrCreateState(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.setSerial(99); err != nil {
		t.Fatal(err)
	}
	again, err := LoadOrCreateState(path)
	if err != nil {
		t.Fatal(err)
	}
	a, errA := s.Token()
	b, errB := again.Token()
	if errA != nil || errB != nil || a != b || s.Pin() != again.Pin() ||
		again.serial() != 99 {
		t.Errorf("token, pin or serial changed (%v, %v)", errA, errB)
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", st.Mode(), err)
	}
	if left, _ := filepath.Glob(path + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Two that create the same file use the same one.
func TestStateCreatedAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state")
	pins := make([]Pin, 8)
	var all sync.WaitGroup
	for i := range pins {
		all.Go(func() {
			s, err := LoadOrCreateState(path)
			if err != nil {
				t.Error(err)
				return
			}
			pins[i] = s.Pin()
		})
	}
	all.Wait()
	for _, p := range pins {
		if p != pins[0] {
			t.Fatalf("different keys: %v and %v", p, pins[0])
		}
	}
}

func TestStateRefusesFiles(t *testing.T) {
	good := filepath.Join(t.TempDir(), "good")
	if _, err := LoadOrCreateState(good); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, make := range map[string]func(path string) error{
		"readable by others": func(p string) error {
			if err := os.WriteFile(p, text, 0o600); err != nil {
				return err
			}
			return os.Chmod(p, 0o640)
		},
		"symbolic link": func(p string) error { return os.Symlink(good, p) },
		"directory":     func(p string) error { return os.Mkdir(p, 0o700) },
		"empty":         func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"cut short":     func(p string) error { return os.WriteFile(p, text[:len(text)/2], 0o600) },
		"other version": func(p string) error {
			return os.WriteFile(p, []byte(strings.Replace(string(text), `"version": 1`, `"version": 2`, 1)), 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state")
			if err := make(path); err != nil {
				t.Fatal(err)
			}
			_, err := LoadOrCreateState(path)
			if err == nil || !strings.Contains(err.Error(), path) {
				t.Errorf("got %v, want an error that names the file", err)
			}
		})
	}
	if _, err := LoadOrCreateState(filepath.Join(t.TempDir(), "none",
		"state")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("directory missing: %v", err)
	}
}

func TestTokens(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		s, err := NewState()
		if err != nil {
			t.Fatal(err)
		}
		s.file.Tokens = nil
		if _, err := s.Token(); !errors.Is(err, ErrExpired) {
			t.Errorf("no token: %v, want ErrExpired", err)
		}
		short, err := s.AddToken(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		long, err := s.AddToken(time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := s.Token(); got != long || err != nil {
			t.Errorf("got %v, want the one that is good for longer (%v)", got.Expires, err)
		}
		check := func(secret string, want error) {
			t.Helper()
			if _, err := s.admits(secret, time.Now()); !errors.Is(err, want) ||
				(err == nil) != (want == nil) {
				t.Errorf("got %v, want %v", err, want)
			} else if err != nil && secret != "" &&
				strings.Contains(err.Error(), secret) {
				t.Errorf("the error quotes the token: %v", err)
			}
		}
		check(short.Secret, nil)
		check(long.Secret, nil)
		check(long.Secret+"x", ErrToken)
		check(long.Secret[1:], ErrToken)
		check("", ErrToken)
		time.Sleep(time.Minute)
		check(short.Secret, ErrExpired)
		check(long.Secret, nil)
		time.Sleep(time.Hour)
		check(long.Secret, ErrExpired)
		if _, err := s.Token(); !errors.Is(err, ErrExpired) {
			t.Errorf("all expired: %v, want ErrExpired", err)
		}
		if forever, err := s.AddToken(0); err != nil {
			t.Error(err)
		} else if got, err := s.Token(); got != forever || err != nil {
			t.Errorf("got %v, %v; want the one without an end", got.Expires, err)
		}
	})
}

func TestTicket(t *testing.T) {
	key, err := newTicketKey(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	m := Member{ID: 7, Name: "db", Addr: DefaultPrefix.Addr(), Key: transport.Key{1},
		Since: time.Unix(1700000000, 0).UTC()}
	text, err := key.seal(m, "a-token")
	if err != nil || len(text) > maxTicket {
		t.Fatalf("%d characters, %v", len(text), err)
	}
	if got, err := key.open(text, m.Key); err != nil ||
		got != (ticket{7, "db", m.Addr, m.Key, m.Since, "a-token"}) {
		t.Errorf("came back as %+v, %v", got, err)
	}
	if _, err := key.open(text, transport.Key{2}); !errors.Is(err, ErrToken) {
		t.Errorf("held by another key: %v", err)
	}
	other, _ := newTicketKey(append(make([]byte, 31), 1))
	if _, err := other.open(text, m.Key); !errors.Is(err, ErrToken) {
		t.Errorf("of another coordinator: %v", err)
	}
	for n := range text {
		if _, err := key.open(text[:n], m.Key); !errors.Is(err, ErrToken) {
			t.Errorf("cut to %d characters: %v", n, err)
		}
		flipped := []byte(text)
		flipped[n] ^= 1
		if _, err := key.open(string(flipped), m.Key); !errors.Is(err, ErrToken) {
			t.Errorf("character %d changed: %v", n, err)
		}
	}
}
