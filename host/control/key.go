package control

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// An Owner is the public key of who may control a node.
type Owner = ed25519.PublicKey

// ParseOwner reads an owner as FormatOwner writes it.
func ParseOwner(s string) (Owner, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(b) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("owner %q: not a key as \"boxer owner\" prints it", s)
	}
	return Owner(b), nil
}

// FormatOwner returns the text of an owner's key, which is no secret.
func FormatOwner(o Owner) string { return base64.RawURLEncoding.EncodeToString(o) }

// KeyPath returns the file with this user's key: owner.key in $XDG_STATE_HOME/boxer,
// which is ~/.local/state/boxer by default. $BOXER_OWNER_KEY names another file.
func KeyPath() (string, error) {
	if path := os.Getenv("BOXER_OWNER_KEY"); path != "" {
		return path, nil
	}
	state := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(state) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "", fmt.Errorf("the owner's key: %w; set BOXER_OWNER_KEY to a file", err)
		}
		state = filepath.Join(home, ".local/state")
	}
	return filepath.Join(state, "boxer", "owner.key"), nil
}

// Key returns this user's key. With create it makes one where there is none; otherwise it
// fails with fs.ErrNotExist.
func Key(create bool) (ed25519.PrivateKey, error) {
	path, err := KeyPath()
	if err != nil {
		return nil, err
	}
	key, err := readKey(path)
	if !errors.Is(err, fs.ErrNotExist) || !create {
		return key, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("the owner's key: %w", err)
	}
	if err := writeKey(path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("the owner's key: %w", err)
	}
	return readKey(path) // it may be another process's
}

func readKey(path string) (ed25519.PrivateKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the owner's key: %w", err)
	}
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("the owner's key: %w", err)
	}
	if st.Mode()&0o077 != 0 {
		return nil, fmt.Errorf("the owner's key: other users have access to %s: chmod 600 %[1]s", path)
	}
	seed, err := base64.RawURLEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil || len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("the owner's key: %s has no key of boxer's; remove it, and boxer makes another one", path)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}

// writeKey makes a key, whole or not at all.
func writeKey(path string) error {
	seed := make([]byte, ed25519.SeedSize)
	if _, err := rand.Read(seed); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".owner-*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(base64.RawURLEncoding.EncodeToString(seed) + "\n")
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Link(f.Name(), path)
}

// signed is what an owner signs: the challenge, and what tells the connection from all
// others, so that a signature is of no use on another one.
func signed(challenge, binding []byte) []byte {
	return fmt.Appendf(nil, "boxer control 1\x00%d\x00%s%s", len(challenge), challenge,
		binding)
}
