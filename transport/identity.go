package transport

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"math/big"
	"time"
)

// Key is a node's identity: its Ed25519 public key (RFC 8032). Its text form is
// lower-case base32 (RFC 4648 section 6) without padding: 52 characters.
type Key [ed25519.PublicKeySize]byte

var keyText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseKey reads the text form that String writes, and no other spelling of it.
func ParseKey(s string) (Key, error) {
	b, err := keyText.DecodeString(s)
	if err != nil {
		return Key{}, fmt.Errorf("key %q: %w", s, err)
	}
	if len(b) != ed25519.PublicKeySize {
		return Key{}, fmt.Errorf("key %q: %d bytes, want %d", s, len(b),
			ed25519.PublicKeySize)
	}
	k := Key(b)
	// base32 of 32 bytes has 4 unused bits, and the decoder skips line breaks
	if k.String() != s {
		return Key{}, fmt.Errorf("key %q: not in canonical form", s)
	}
	return k, nil
}

// String returns the text form of k.
func (k Key) String() string { return keyText.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler.
func (k Key) MarshalText() ([]byte, error) { return keyText.AppendEncode(nil, k[:]), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *Key) UnmarshalText(text []byte) error {
	parsed, err := ParseKey(string(text))
	if err != nil {
		return err
	}
	*k = parsed
	return nil
}

// Identity is the private half of a Key, with the certificate that carries it
// through a TLS handshake. It does not change and never shows its secret.
type Identity struct {
	key  Key
	cert tls.Certificate
}

// NewIdentity makes an identity from the system's random source.
func NewIdentity() (*Identity, error) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never fails: crypto/rand
	return IdentityFromSeed(seed)
}

// IdentityFromSeed makes the identity that belongs to a secret seed of
// ed25519.SeedSize bytes (RFC 8032 section 5.1.5): the same seed, the same key.
func IdentityFromSeed(seed []byte) (*Identity, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("identity: seed of %d bytes, want %d", len(seed),
			ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	// Peers look at the key and at nothing else, so the certificate says
	// nothing: a name would tell observers, and dates would depend on clocks.
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0),
		// RFC 5280 section 4.1.2.5: no expiry
		NotAfter: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		return nil, fmt.Errorf("identity: certificate: %w", err)
	}
	return &Identity{
		key:  Key(public),
		cert: tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private},
	}, nil
}

// Key returns the public half.
func (i *Identity) Key() Key { return i.key }

// Certificate returns the self-signed certificate with its private key, for a
// tls.Config.
func (i *Identity) Certificate() tls.Certificate { return i.cert }

// String returns the public key: an identity may be printed by mistake.
func (i *Identity) String() string { return i.key.String() }

// GoString is String: %#v shows no secret either.
func (i *Identity) GoString() string { return "transport.Identity(" + i.key.String() + ")" }

var (
	errNoCertificate = errors.New("peer sent no certificate")
	errNotEd25519    = errors.New("peer's certificate has no Ed25519 key")
)

// PeerKey returns the key that the far side of a handshake has proven to hold.
func PeerKey(state tls.ConnectionState) (Key, error) {
	if len(state.PeerCertificates) == 0 {
		return Key{}, errNoCertificate
	}
	public, ok := state.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok || len(public) != ed25519.PublicKeySize {
		return Key{}, errNotEd25519
	}
	return Key(public), nil
}
