package coordinator

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

const (
	// protocolName is the ALPN protocol (RFC 7301) of the coordinator's QUIC port.
	protocolName = "boxer-coordinator/1"

	// protocolVersion is the version of the messages, and oldestVersion the oldest
	// one that is still spoken. The hello names the version of a connection; the
	// server refuses versions that it does not speak with codeProtocol, and the
	// client then tries the next older one. So the hello stays JSON in all versions.
	//
	// Version 3 refuses fields that it does not know. From version 4 on they are
	// ignored, so that a field more is no version more; whoever sends to version 3
	// leaves them out (see hello.in and Member.in).
	protocolVersion = 4
	oldestVersion   = 3
)

// What one message may hold, in bytes and elements. Whatever exceeds a limit
// costs its sender the connection, and nobody else anything.
const (
	maxFrame  = 1 << 20 // body of one message
	maxHello  = 8 << 10 // of the first message, whose sender is still a stranger
	maxHost   = 128     // Member.Host
	maxTicket = 1 << 10
	maxText   = 256  // of a receipt's error
	maxPaths  = 2000 // paths of one report

	// MaxSignal is the size of the largest signal, in bytes.
	MaxSignal = 8 << 10

	// pageMembers and pagePaths bound a page of members: at no more than 1200
	// bytes a member and 300 a path it stays below maxFrame.
	pageMembers = 250
	pagePaths   = maxPaths
)

// A message is what goes over the control stream: exactly one field is set.
type message struct {
	// From the client.
	Hello     *hello        `json:"hello,omitempty"`
	Heartbeat *heartbeat    `json:"alive,omitempty"`
	Report    *statusReport `json:"report,omitempty"`

	// From the server.
	Welcome      *welcome      `json:"welcome,omitempty"`
	Updates      *updateBatch  `json:"-"` // has an encoding of its own
	Page         *page         `json:"page,omitempty"`
	Ack          *ack          `json:"receipt,omitempty"`
	ObservedAddr *observedAddr `json:"mirror,omitempty"`
	Ping         *ping         `json:"ask,omitempty"`

	// From either: the other node's id is the target's or the sender's.
	Signal *signal `json:"signal,omitempty"`
}

// hello is the first message: it asks for admission, or for a look.
type hello struct {
	Version int    `json:"version"`
	Token   string `json:"token,omitempty"`
	Ticket  string `json:"ticket,omitempty"` // comes back as who it was: see ticket.go
	Name    string `json:"name,omitempty"`   // empty: node-ID
	Host    string `json:"host,omitempty"`
	// wants pages with paths and the end, no admission
	Observe bool `json:"observe,omitempty"`

	// version of the node's program; since version 4
	Program string `json:"program,omitempty"`
}

// in returns the hello as the version has it.
func (h hello) in(version int) *hello {
	h.Version = version
	if version < 4 {
		h.Program = ""
	}
	return &h
}

// alive renews the lease. It is a message rather than a QUIC PING for two
// reasons: its arrival tells that the node's client runs, and, padded, it is
// large enough to be answered with a stateless reset when the coordinator was
// killed and started anew; quic-go answers no packet of 42 bytes or fewer.
type heartbeat struct {
	Pad string `json:"pad"`
}

var heartbeatPad = &heartbeat{Pad: "................"}

// report replaces what is known of the sender's paths.
type statusReport struct {
	Paths []PathReport `json:"paths"`
	About *About       `json:"about,omitempty"` // from version 4 on
}

// welcome answers hello; the list of the members follows, as news, or as pages to
// observers.
type welcome struct {
	Self      Member         `json:"self"` // zero for observers
	Prefix    netip.Prefix   `json:"prefix"`
	Prefix6   netip.Prefix   `json:"prefix6,omitzero"`
	Ticket    string         `json:"ticket,omitempty"`
	Reflexive netip.AddrPort `json:"reflexive"`
	Lease     time.Duration  `json:"lease_ns"`
	Started   time.Time      `json:"started"`
	// version of the coordinator's program
	Program string `json:"program,omitempty"`
	// of the messages; since version 4
	Version int `json:"version,omitempty"`
}

// page is a part of what an observer sees: members with their paths.
type page struct {
	Members []Member `json:"members"`
	Last    bool     `json:"last,omitempty"`
}

// signal carries Data to, or from, the node with the id Node.
type signal struct {
	Seq  uint64 `json:"seq,omitempty"` // the sender's number of it; the receipt has it
	Node uint32 `json:"node"`
	Data []byte `json:"data"`
}

// receipt answers signal Seq.
type ack struct {
	Seq  uint64 `json:"seq"`
	Code string `json:"code,omitempty"` // empty, "no-node" or "busy"
	// with "no-node": the coordinator's clock, in nanoseconds since 1970
	At int64 `json:"at,omitempty"`
}

// mirror tells the client its own address as the server sees it by now.
type observedAddr struct {
	Reflexive netip.AddrPort `json:"reflexive"`
}

// ask wants an alive at once.
type ping struct{}

// kind returns the name of the one field that is set.
func (m *message) kind() (string, error) {
	kind, n := "", 0
	for _, f := range [...]struct {
		set  bool
		name string
	}{
		{m.Hello != nil, "hello"}, {m.Heartbeat != nil, "alive"},
		{m.Report != nil, "report"},
		{m.Welcome != nil, "welcome"}, {m.Page != nil, "page"},
		{m.Updates != nil, "news"},
		{m.Ack != nil, "receipt"}, {m.ObservedAddr != nil, "mirror"},
		{m.Signal != nil, "signal"},
		{m.Ping != nil, "ask"},
	} {
		if f.set {
			kind, n = f.name, n+1
		}
	}
	if n != 1 {
		return "", fmt.Errorf("%w: message with %d bodies", ErrProtocol, n)
	}
	return kind, nil
}

// check holds the message to the limits that the JSON syntax does not have.
func (m *message) check() error {
	kind, err := m.kind()
	if err != nil {
		return err
	}
	over := false
	switch {
	case m.Hello != nil:
		h := m.Hello
		over = len(h.Token) > maxToken || len(h.Ticket) > maxTicket ||
			!isHostID(h.Host) || !isHostID(h.Program)
	case m.Report != nil:
		over = len(m.Report.Paths) > maxPaths
		if a := m.Report.About; a != nil {
			over = over || !isHostID(a.Command) || len(a.Ports) > MaxPorts
		}
		for _, p := range m.Report.Paths {
			over = over || !isLabel(p.Kind) || p.Remote.Addr().Zone() != ""
		}
	case m.Signal != nil:
		over = len(m.Signal.Data) > MaxSignal
	case m.Ack != nil:
		over = len(m.Ack.Code) > maxText
	}
	if over {
		return fmt.Errorf("%w: %s exceeds a limit", ErrProtocol, kind)
	}
	return nil
}

// isHostID tells whether s may be a Member.Host: up to maxHost printable ASCII
// characters that stand in JSON as they are.
func isHostID(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' ||
			c == '&' {
			return false
		}
	}
	return len(s) <= maxHost
}

// decodeMessage reads one message from the body of its frame.
func decodeMessage(b []byte) (*message, error) {
	if len(b) > 0 && b[0] == batchMark {
		n, err := decodeBatch(b)
		if err != nil {
			return nil, err
		}
		return &message{Updates: n}, nil
	}
	d := json.NewDecoder(bytes.NewReader(b))
	m := new(message)
	if err := d.Decode(m); err != nil {
		// Not the decoder's error: it quotes what the far side wrote.
		return nil, fmt.Errorf("%w: message is not the expected JSON", ErrProtocol)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: message with something behind it", ErrProtocol)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// appendFrame appends the message as a frame: its length (uint32, big endian),
// then its body, which is a JSON text but for news.
func appendFrame(dst []byte, m *message) ([]byte, error) {
	if m.Updates != nil {
		return m.Updates.appendTo(dst), nil
	}
	text, err := json.Marshal(m)
	if err != nil {
		return dst, fmt.Errorf("encode message: %w", err)
	}
	if len(text) > maxFrame {
		return dst, fmt.Errorf("encode message: %d bytes, the most is %d", len(text),
			maxFrame)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
	return append(dst, text...), nil
}

// frame encodes a message that this program made and that is within the limits
// by construction: an error is a broken invariant.
func frame(m *message) []byte {
	b, err := appendFrame(nil, m)
	if err != nil {
		panic(err)
	}
	return b
}

// readMessage reads one frame of at most limit bytes and decodes it.
func readMessage(r io.Reader, limit int) (*message, error) {
	b, err := readFrame(r, limit)
	if err != nil {
		return nil, err
	}
	return decodeMessage(b)
}

// readFrame reads the body of one frame, of at most limit bytes. It takes memory as
// the bytes arrive, not as the length announces them.
func readFrame(r io.Reader, limit int) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	n := binary.BigEndian.Uint32(head[:])
	if n > uint32(limit) {
		return nil, fmt.Errorf("%w: message of %d bytes, the most is %d", ErrProtocol, n, limit)
	}
	var text bytes.Buffer
	text.Grow(int(min(n, 4<<10)))
	if _, err := io.CopyN(&text, r, int64(n)); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("read message: %w", err)
	}
	return text.Bytes(), nil
}
