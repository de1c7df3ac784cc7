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

	// protocolVersion is the newest version of the messages, and oldestVersion the oldest
	// supported one. The hello names the version of a connection. The server refuses an
	// unsupported version with codeProtocol, and the client then tries the next older
	// one. So the hello is JSON in all versions.
	//
	// Version 3 rejects unknown fields. From version 4 on they are ignored, so that a new
	// field needs no new version. A sender omits fields that version 3 does not have (see
	// hello.in and Member.in).
	//
	// Names in JSON and in the code differ where version 3 uses another word.
	protocolVersion = 4
	oldestVersion   = 3
)

// Limits of one message, in bytes and elements. A message that exceeds a limit costs its
// sender the connection, and affects no other node.
const (
	maxFrame  = 1 << 20 // body of one message
	maxHello  = 8 << 10 // of the first message, whose sender is not authenticated yet
	maxHost   = 128     // Member.Host
	maxTicket = 1 << 10
	maxText   = 256  // of an ack's code
	maxPaths  = 2000 // paths in one report

	// MaxSignal is the size of the largest signal, in bytes.
	MaxSignal = 8 << 10

	// pageMembers and pagePaths limit a page of members. At no more than 1,200 bytes per
	// member and 300 per path it fits maxFrame.
	pageMembers = 250
	pagePaths   = maxPaths
)

// A message is one frame on the control stream. Exactly one field is set.
type message struct {
	// From the client.
	Hello     *hello        `json:"hello,omitempty"`
	Heartbeat *heartbeat    `json:"alive,omitempty"`
	Report    *statusReport `json:"report,omitempty"`
	// only to a coordinator whose welcome has Presences
	Presence *presenceChange `json:"presence,omitempty"`

	// From the server.
	Welcome      *welcome      `json:"welcome,omitempty"`
	Updates      *updateBatch  `json:"-"` // has its own encoding
	Page         *page         `json:"page,omitempty"`
	Ack          *ack          `json:"receipt,omitempty"`
	ObservedAddr *observedAddr `json:"mirror,omitempty"`
	Ping         *ping         `json:"ask,omitempty"`

	// From either end. Its node is the target, or for the receiver the sender.
	Signal *signal `json:"signal,omitempty"`
}

// A hello is the first message. It asks for admission, or to observe.
type hello struct {
	Version int    `json:"version"`
	Token   string `json:"token,omitempty"`
	Ticket  string `json:"ticket,omitempty"` // of a node that rejoins; see ticket.go
	Name    string `json:"name,omitempty"`   // empty: node-ID, or any for an observer
	Host    string `json:"host,omitempty"`
	// asks for pages with paths, and then the end of the connection
	Observe bool `json:"observe,omitempty"`

	// version of the node's program; since version 4
	Program string `json:"program,omitempty"`

	// Presence is that with which the node joins. A node that sends it takes updates of
	// kindPresence. Since version 4; older coordinators of that version ignore it.
	Presence *Presence `json:"presence,omitempty"`

	// Policies says that the node enforces policies: it takes updates of kindAccess.
	// Since version 4; older nodes of that version do not.
	Policies bool `json:"policies,omitempty"`
}

// in returns the hello with the fields that the version has.
func (h hello) in(version int) *hello {
	h.Version = version
	if version < 4 {
		h.Program, h.Presence, h.Policies = "", nil, false
	}
	return &h
}

// A heartbeat renews the lease. It is a message, and not a QUIC PING, for two reasons.
// Its arrival shows that the node's client runs. And it is padded, so that a coordinator
// that was killed and restarted answers it with a stateless reset: quic-go does not
// answer packets of 42 bytes or fewer.
type heartbeat struct {
	Pad string `json:"pad"`
}

var heartbeatPad = &heartbeat{Pad: "................"}

// A statusReport replaces what the coordinator knows about the sender's paths.
type statusReport struct {
	Paths []PathReport `json:"paths"`
	About *About       `json:"about,omitempty"` // since version 4
}

// A welcome answers a hello. The member list follows: as updates, or for observers as
// pages.
type welcome struct {
	Self      Member         `json:"self"` // zero for observers
	Prefix    netip.Prefix   `json:"prefix"`
	Prefix6   netip.Prefix   `json:"prefix6,omitzero"`
	Ticket    string         `json:"ticket,omitempty"`
	DataPath  DataPath       `json:"data_path,omitempty"` // empty: DataPathQUIC
	Reflexive netip.AddrPort `json:"reflexive"`
	Lease     time.Duration  `json:"lease_ns"`
	Started   time.Time      `json:"started"`
	// version of the coordinator's program
	Program string `json:"program,omitempty"`
	// of the messages; since version 4
	Version int `json:"version,omitempty"`
	// the coordinator takes a presenceChange; since version 4
	Presences bool `json:"presences,omitempty"`
}

// A page is a part of what an observer receives: members with their paths.
type page struct {
	Members []Member `json:"members"`
	Last    bool     `json:"last,omitempty"`
}

// A signal carries Data to, or from, the node with the id Node.
type signal struct {
	Seq  uint64 `json:"seq,omitempty"` // the sender's sequence number, for the ack
	Node uint32 `json:"node"`
	Data []byte `json:"data"`
}

// A presenceChange sets the presence of its sender.
type presenceChange struct {
	Seq uint64 `json:"seq"` // as of a signal
	Presence
}

// An ack answers the signal or the presenceChange with number Seq.
type ack struct {
	Seq  uint64 `json:"seq"`
	Code string `json:"code,omitempty"` // "", "no-node" or "busy"
	// with "no-node": the coordinator's time, in nanoseconds since 1970
	At int64 `json:"at,omitempty"`
}

// An observedAddr tells the client its own address as the server sees it now.
type observedAddr struct {
	Reflexive netip.AddrPort `json:"reflexive"`
}

// A ping asks for a heartbeat at once.
type ping struct{}

// kind returns the name of the one field that is set.
func (m *message) kind() (string, error) {
	kind, n := "", 0
	for _, f := range [...]struct {
		set  bool
		name string
	}{
		{m.Hello != nil, "hello"}, {m.Heartbeat != nil, "heartbeat"},
		{m.Report != nil, "report"}, {m.Presence != nil, "presence"},
		{m.Welcome != nil, "welcome"}, {m.Page != nil, "page"},
		{m.Updates != nil, "updates"},
		{m.Ack != nil, "ack"}, {m.ObservedAddr != nil, "observed address"},
		{m.Signal != nil, "signal"},
		{m.Ping != nil, "ping"},
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

// check applies the limits that the JSON syntax does not have.
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
			over = over || !isHostID(a.Command) || len(a.Ports) > MaxPorts ||
				!isHostID(a.Place) || !isHostID(a.Arch)
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

// isHostID reports whether s can be a Member.Host: up to maxHost printable ASCII
// characters that JSON does not escape.
func isHostID(s string) bool {
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '<' || c == '>' ||
			c == '&' {
			return false
		}
	}
	return len(s) <= maxHost
}

// decodeMessage decodes one message from the body of its frame.
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
		// The decoder's error is omitted, since it quotes what the peer wrote.
		return nil, fmt.Errorf("%w: message is not the expected JSON", ErrProtocol)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%w: message with trailing data", ErrProtocol)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	return m, nil
}

// appendFrame appends the message as a frame: its length (uint32, big endian), then its
// body. The body is JSON, except for updates.
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

// frame encodes a message that this program has made within the limits. An error is a
// broken invariant.
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

// readFrame reads the body of one frame, of at most limit bytes. It allocates memory as
// the bytes arrive, and not for the announced length.
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
