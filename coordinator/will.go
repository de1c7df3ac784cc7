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

// A Will is a node's last will: a datagram that tells the coordinator that the process
// of the node is dead. Another process, which outlives the node's, keeps it and sends
// it. The others then hear of it at once, as they hear of a killed process from its
// kernel, and not when the lease ends.
//
// The datagram is a STUN binding indication (RFC 8489 section 3) with MESSAGE-INTEGRITY.
// Its key is exported from the TLS session of the node with the coordinator (RFC 8446
// section 7.5), so that nobody else can make one, and it says nothing about a later
// session of the node.
type Will struct {
	Server  netip.AddrPort // where it is to be sent
	Message []byte         // a secret until then
}

// willName begins the USERNAME, which the node's id ends.
const willName = "boxer-will:"

// willLabel is the exporter's (RFC 8446 section 7.5).
const willLabel = "EXPORTER-boxer-will"

var bindingIndication = stun.NewType(stun.MethodBinding, stun.ClassIndication)

// willKey returns the key for wills of the connection.
func exportWillKey(conn *quic.Conn) (string, error) {
	state := conn.ConnectionState().TLS
	b, err := state.ExportKeyingMaterial(willLabel, nil, 32)
	if err != nil {
		return "", fmt.Errorf("export key: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(b), nil
}

// newWill makes the datagram.
func newWill(id uint32, key string) ([]byte, error) {
	m, err := stun.Build(stun.TransactionID, bindingIndication,
		stun.NewUsername(willName+strconv.FormatUint(uint64(id), 10)),
		stun.NewShortTermIntegrity(key), stun.Fingerprint)
	if err != nil {
		return nil, fmt.Errorf("make will: %w", err)
	}
	return m.Raw, nil
}

// parseWill returns whose will the datagram says it is.
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

// handleWill takes in an indication, on the socket's reading goroutine. Anybody may
// send one: what is not authentic is dropped.
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

// bury removes a node whose process is dead.
func (s *Server) removeDead(c *session) {
	s.log.Info("node is dead, says its host", "id", c.id)
	s.members.remove(c.id, c)
	s.probes.notifyResponse()
	_ = c.conn.CloseWithError(codeLease, "the node's process is dead, said its host")
}

// Will returns the node's last will as it is now, if there is one.
func (c *Client) Will() (Will, bool) {
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	return c.willOf(session)
}

// OnWill has f called with the node's last will, at once and whenever it changes, by
// one goroutine at a time; nil ends that. A coordinator of an older version takes no
// wills: then f is not called.
func (c *Client) OnWill(f func(Will)) {
	c.wills.Lock()
	defer c.wills.Unlock()
	c.onWill = f
	c.mu.Lock()
	session := c.session
	c.mu.Unlock()
	c.announceWillLocked(session)
}

// bequeathLocked gives the will of a connection to whoever keeps it.
func (c *Client) announceWillLocked(session *clientSession) {
	if c.onWill == nil {
		return
	}
	if w, ok := c.willOf(session); ok {
		c.onWill(w)
	}
}

// willOf makes the will of a connection.
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
