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

// Key is a node's identity: its Ed25519 public key (RFC 8032). The text form is 52
// characters of lower-case base32 (RFC 4648 section 6) without padding.
type Key [ed25519.PublicKeySize]byte

var keyText = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// ParseKey parses the text form that String returns, and no other spelling of it.
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

// Identity is the private half of a Key, with the certificate for TLS handshakes. It does
// not change and never prints its secret.
type Identity struct {
	key  Key
	cert tls.Certificate
}

// NewIdentity makes a random identity.
func NewIdentity() (*Identity, error) {
	seed := make([]byte, ed25519.SeedSize)
	rand.Read(seed) // never fails: crypto/rand
	return IdentityFromSeed(seed)
}

// IdentityFromSeed makes the identity of a secret seed of ed25519.SeedSize bytes (RFC
// 8032 section 5.1.5). The same seed gives the same key.
func IdentityFromSeed(seed []byte) (*Identity, error) {
	if len(seed) != ed25519.SeedSize {
		return nil, fmt.Errorf("identity: seed of %d bytes, want %d", len(seed),
			ed25519.SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	public := private.Public().(ed25519.PublicKey)
	// Peers check the key and nothing else, so the certificate has nothing else:
	// observers could read a name, and dates would depend on clocks.
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

// String returns the public key, so that printing an identity shows no secret.
func (i *Identity) String() string { return i.key.String() }

// GoString implements fmt.GoStringer, so that %#v shows no secret either.
func (i *Identity) GoString() string { return "transport.Identity(" + i.key.String() + ")" }

var (
	errNoCertificate = errors.New("peer sent no certificate")
	errNotEd25519    = errors.New("peer's certificate has no Ed25519 key")
)

// PeerKey returns the key that the far side of a handshake has proven to have.
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
