package transport

import (
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"github.com/pion/stun/v3"
)

// STUN messages (RFC 8489) serve two purposes. A plain binding request to the coordinator
// tells a node its address as seen from outside. Requests between nodes carry the
// receiver's credentials and show that a path works (RFC 8445 section 7).

// RFC 8445 section 5.3 asks for 24 and 128 random bits, in at least 4 and 22
// characters; base32 carries 5 bits in each.
const (
	minUfrag    = 4
	minPassword = 22
)

// newCredentials makes a random username fragment of 40 bits and a password of 160 bits.
// The caller makes sure that the fragment is unique on its node.
func newCredentials() credentials {
	var b [25]byte
	rand.Read(b[:]) // never fails
	text := base32.StdEncoding.EncodeToString(b[:])
	return credentials{ufrag: text[:8], password: text[8:]}
}

type transactionID = [stun.TransactionIDSize]byte

var (
	errSTUNLength   = errors.New("stun: length does not match")
	errSTUNUsername = errors.New("stun: malformed username")
	errSTUNType     = errors.New("stun: not a binding request")
)

// parseSTUN decodes a message that is exactly b, and copies it.
func parseSTUN(b []byte) (*stun.Message, error) {
	m := new(stun.Message)
	if err := m.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("stun: %w", err)
	}
	if int(m.Length)+20 != len(b) {
		return nil, errSTUNLength
	}
	return m, nil
}

// newBinding makes a plain binding request.
func newBinding(id transactionID) []byte {
	return stun.MustBuild(stun.NewTransactionIDSetter(id), stun.BindingRequest,
		stun.Fingerprint).Raw
}

// answerBinding returns the answer to a plain binding request from an address.
func answerBinding(b []byte, from netip.AddrPort) ([]byte, error) {
	m, err := parseSTUN(b)
	if err != nil {
		return nil, err
	}
	if m.Type != stun.BindingRequest {
		return nil, errSTUNType
	}
	return build(m, stun.BindingSuccess, xorMapped(from), stun.Fingerprint)
}

// newCheck makes a connectivity check for the node with the credentials theirs (RFC 8445
// section 7.2.2). There are no roles and priorities: each side chooses the path for what
// it sends.
func newCheck(id transactionID, theirs credentials, ours string,
	more ...stun.Setter) ([]byte, error) {
	setters := append([]stun.Setter{
		stun.NewTransactionIDSetter(id), stun.BindingRequest,
		stun.NewUsername(theirs.ufrag + ":" + ours),
	}, more...)
	return build(append(setters, stun.NewShortTermIntegrity(theirs.password), stun.Fingerprint)...)
}

// checkUsername returns the username fragments of a check: the receiver's, then
// the sender's.
func checkUsername(m *stun.Message) (receiver, sender string, err error) {
	var name stun.Username
	if err := name.GetFrom(m); err != nil {
		return "", "", fmt.Errorf("stun: %w", err)
	}
	receiver, sender, ok := strings.Cut(name.String(), ":")
	if !ok || receiver == "" || sender == "" {
		return "", "", errSTUNUsername
	}
	return receiver, sender, nil
}

// authentic reports whether the sender of m knows the password and m is complete.
func authentic(m *stun.Message, password string) bool {
	return stun.NewShortTermIntegrity(password).Check(m) == nil &&
		stun.Fingerprint.Check(m) == nil
}

// answerCheck returns the answer to an authentic check (RFC 8445 section 7.3).
func answerCheck(m *stun.Message, from netip.AddrPort, password string) ([]byte, error) {
	return build(m, stun.BindingSuccess, xorMapped(from),
		stun.NewShortTermIntegrity(password), stun.Fingerprint)
}

// mappedAddress returns the address that the other side has seen.
func mappedAddress(m *stun.Message) (netip.AddrPort, error) {
	var x stun.XORMappedAddress
	if err := x.GetFrom(m); err != nil {
		return netip.AddrPort{}, fmt.Errorf("stun: %w", err)
	}
	addr, ok := netip.AddrFromSlice(x.IP)
	if !ok {
		return netip.AddrPort{}, fmt.Errorf("stun: mapped address of %d bytes", len(x.IP))
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(x.Port)), nil
}

func xorMapped(a netip.AddrPort) stun.Setter {
	return &stun.XORMappedAddress{IP: a.Addr().AsSlice(), Port: int(a.Port())}
}

func build(setters ...stun.Setter) ([]byte, error) {
	m, err := stun.Build(setters...)
	if err != nil {
		return nil, fmt.Errorf("stun: %w", err)
	}
	return m.Raw, nil
}

// newTransactionID makes an id that an attacker off the path cannot guess.
func newTransactionID() transactionID { return stun.NewTransactionID() }
