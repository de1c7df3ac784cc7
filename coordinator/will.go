package coordinator

import (
	"encoding/base64"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/pion/stun/v3"
	"github.com/quic-go/quic-go"
)

// A Will is a node's last will: a datagram that tells the coordinator that the node's
// process is dead. Another process, which outlives the node's, stores it and sends it. So
// the other nodes learn of the death at once, as they would from the kernel of a killed
// process, and not when the lease expires.
//
// The datagram is a STUN binding indication (RFC 8489 section 3) with MESSAGE-INTEGRITY.
// Its key is exported from the node's TLS session with the coordinator (RFC 8446 section
// 7.5). So no one else can forge it, and it does not apply to a later session of the
// node.
type Will struct {
	Server  netip.AddrPort // where to send it
	Message []byte         // secret until it is sent
}

// willName begins the USERNAME. The node's id follows.
const willName = "boxer-will:"

// willLabel is the label of the TLS exporter (RFC 8446 section 7.5).
const willLabel = "EXPORTER-boxer-will"

var bindingIndication = stun.NewType(stun.MethodBinding, stun.ClassIndication)

// exportWillKey returns the key for the last will of the connection.
func exportWillKey(conn *quic.Conn) (string, error) {
	state := conn.ConnectionState().TLS
	b, err := state.ExportKeyingMaterial(willLabel, nil, 32)
	if err != nil {
		return "", fmt.Errorf("export key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// newWill returns the datagram.
func newWill(id uint32, key string) ([]byte, error) {
	m, err := stun.Build(stun.TransactionID, bindingIndication,
		stun.NewUsername(willName+strconv.FormatUint(uint64(id), 10)),
		stun.NewShortTermIntegrity(key), stun.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("make will: %w", err)
	}
	return m.Raw, nil
}

// parseWill returns the id of the node that the datagram claims to be from.
func parseWill(b []byte) (m *stun.Message, id uint32, ok bool) {
	m = new(stun.Message)
	var name stun.Username
	if m.UnmarshalBinary(b) != nil || m.Type != bindingIndication ||
		name.GetFrom(m) != nil {
		return nil, 0, false
	}
	digits, ok := strings.CutPrefix(name.String(), willName)
	n, err := strconv.ParseUint(digits, 10, 32)
	return m, uint32(n), ok && err == nil
}

// handleWill handles a STUN indication on the goroutine that reads the socket. Any host
// can send one. handleWill drops indications that are not authentic.
func (s *Server) handleWill(b []byte, _ netip.AddrPort) {
	m, id, ok := parseWill(b)
	if !ok {
		return
	}
	c := s.members.session(id)
	if c == nil || c.willKey == "" || stun.Fingerprint.Check(m) != nil ||
		stun.NewShortTermIntegrity(c.willKey).Check(m) != nil {
		return
	}
	select {
	case s.deadSessions <- c:
	default: // wills are sent more than once
	}
}

// removeDead removes a node whose process is dead.
func (s *Server) removeDead(c *session) {
	s.log.Info("the node's host reports that it is dead", "id", c.id)
	s.members.remove(c.id, c)
	s.probes.notifyResponse()
	_ = c.conn.CloseWithError(codeLease, "the node's host reported that its process is dead")
}

// Will returns the node's current last will, if there is one.
func (c *Client) Will() (Will, bool) {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	return c.willOf(session)
}

// OnWill makes the client call f with the node's last will, now and whenever it changes.
// One goroutine at a time calls f. nil ends that. A coordinator of an older version
// accepts no wills, and f is not called.
func (c *Client) OnWill(f func(Will)) {
	c.wills.Lock()
	defer c.wills.Unlock()
	c.onWill = f
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	c.announceWillLocked(session)
}

// announceWillLocked calls onWill for a session.
func (c *Client) announceWillLocked(session *clientSession) {
	if c.onWill == nil {
		return
	}
	if w, ok := c.willOf(session); ok {
		c.onWill(w)
	}
}

// willOf returns the last will of a session.
func (c *Client) willOf(session *clientSession) (w Will, ok bool) {
	if session == nil || session.version < 4 {
		return w, false
	}
	key, err := exportWillKey(session.conn)
	if err == nil {
		w.Server = session.server
		w.Message, err = newWill(c.self.ID, key)
	}
	if err != nil {
		c.log.Debug("no last will", "err", err)
	}
	return w, err == nil
}
