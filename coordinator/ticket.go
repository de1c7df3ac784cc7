package coordinator

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/boxer-sandbox/boxer/transport"
)

// A ticket is the server's memory of a member, which the member stores. With it a node
// rejoins with its id, name and address after a lost connection, even at a coordinator
// that has restarted and knows no members. It is valid only together with the private key
// for Key. It also admits after the token has expired: an expired token stops only
// newcomers.
type ticket struct {
	ID    uint32        `json:"id"`
	Name  string        `json:"name"`
	Addr  netip.Addr    `json:"addr"`
	Key   transport.Key `json:"key"`
	Since time.Time     `json:"since"`
	Token string        `json:"token,omitempty"` // namedToken.ID; empty: a default token
}

// A ticketKey authenticates tickets (HMAC-SHA-256, RFC 2104).
type ticketKey [sha256.Size]byte

// newTicketKey derives the key from the coordinator's secret (HKDF, RFC 5869), so that
// tickets are valid as long as the coordinator's identity is.
func newTicketKey(seed []byte) (ticketKey, error) {
	b, err := hkdf.Key(sha256.New, seed, nil, "boxer coordinator ticket 1", sha256.Size)
	if err != nil {
		return ticketKey{}, fmt.Errorf("derive ticket key: %w", err)
	}
	return ticketKey(b), nil
}

func (k *ticketKey) mac(body []byte) []byte {
	h := hmac.New(sha256.New, k[:])
	h.Write(body)
	return h.Sum(nil)
}

// seal returns the ticket of a member: MAC and body in base64.
func (k *ticketKey) seal(m Member, token string) (string, error) {
	body, err := json.Marshal(ticket{m.ID, m.Name, m.Addr, m.Key, m.Since, token})
	if err != nil {
		return "", fmt.Errorf("seal ticket: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(append(k.mac(body), body...)), nil
}

// open checks that this coordinator has issued the ticket, and that its holder has that
// key.
func (k *ticketKey) open(text string, holder transport.Key) (ticket, error) {
	var t ticket
	b, err := base64.RawURLEncoding.Strict().DecodeString(text)
	if err != nil || len(b) < sha256.Size ||
		!hmac.Equal(b[:sha256.Size], k.mac(b[sha256.Size:])) {
		return t, fmt.Errorf("%w: ticket is not of this coordinator", ErrToken)
	}
	if err := json.Unmarshal(b[sha256.Size:], &t); err != nil {
		return t, fmt.Errorf("%w: ticket of another version", ErrToken)
	}
	if t.Key != holder {
		return t, fmt.Errorf("%w: ticket of another node", ErrToken)
	}
	return t, nil
}
