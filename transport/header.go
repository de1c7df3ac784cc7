package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"

	"github.com/boxer-sandbox/boxer/stream"
)

// Header is what the opener of a stream sends first: it describes the TCP connection. The
// addresses are virtual ones.
type Header struct {
	Source      netip.AddrPort // the opener's end
	Destination netip.AddrPort // the end that is dialled

	// HostAddr, if valid, is an address of the opener on the host that both nodes are on.
	// The opener does not want a connection. It asks at which address of the host the
	// destination is, and the stream carries the answer.
	HostAddr netip.Addr

	// Socket, if not 0, is the cookie (SO_COOKIE, socket(7)) of the opener's socket,
	// which will itself connect to that destination.
	Socket uint64

	// Trace, if not 0, is the connection's id in the traces of both sides.
	Trace uint64

	// Optimistic says that the opener does not wait for the answer: see OpenOptimistic.
	Optimistic bool

	// DirectPort, if not 0, says that the kernel's TCP is to carry the connection: the
	// opener's socket connects from that port to the acceptor's. See
	// [Stream.SettleDirect].
	DirectPort uint16

	// DirectTrial says that the opener does not want a connection: it tries whether TCP
	// reaches the acceptor, and the stream carries what the two agree on.
	DirectTrial bool

	// Urgent, if valid, announces an urgent byte of another stream. The opener does not
	// want a connection. See Stream.MarkUrgent.
	Urgent UrgentByte

	// IP has the fields of the opener's packets.
	IP stream.IPFields

	// MinTTL is the lowest TTL, or hop limit, of packets that the opener does not refuse.
	MinTTL uint8

	// Update, if valid, has other fields of the sender's packets of a stream. The opener
	// does not want a connection. See Stream.SetIPFields.
	Update IPUpdate
}

// The wire form of a header, all numbers big endian:
//
//	0       version, 1
//	1       flags, 0: a receiver refuses flags that it does not know
//	2..3    length of the rest
//	4..     destination, then source: family (4 or 6), port (2 bytes), address (4 or 16 bytes)
//	..      options: type, length of the value (1 byte each), value. Unknown types are skipped;
//	        1 is HostAddr, an IPv4 address of 4 bytes; 2 is Trace, a number of 8 bytes;
//	        3 is Optimistic, without a value; 4 is Urgent: stream and offset, 8 bytes each;
//	        5 is Socket, a number of 8 bytes; 6 is IP: TTL and TOS, 1 byte each; 7 is
//	        Update: stream, 8 bytes, then as IP; 8 is DirectPort, a number of 2 bytes;
//	        9 is DirectTrial, without a value; 10 is MinTTL, 1 byte
const (
	optionHostAddr   = 1
	optionTrace      = 2
	optionOptimistic = 3
	optionUrgent     = 4
	optionSocket     = 5
	optionIPFields   = 6
	optionIPUpdate   = 7
	optionDirect     = 8
	optionTrial      = 9
	optionMinTTL     = 10

	headerVersion  = 1
	headerPreamble = 4
	// maxHeaderRest bounds the length of the rest in bytes: two IPv6 addresses take 38,
	// and options take the rest.
	maxHeaderRest = 512
)

var (
	errHeaderShort   = errors.New("header: cut short")
	errHeaderLong    = errors.New("header: too long")
	errHeaderFlags   = errors.New("header: unknown flags")
	errHeaderAddress = errors.New("header: malformed address")
	errHeaderTrace   = errors.New("header: malformed name of the connection")
	errHeaderSocket  = errors.New("header: malformed cookie of the socket")
	errHeaderDirect  = errors.New("header: malformed port of a direct connection")
	errHeaderUrgent  = errors.New("header: malformed urgent byte")
	errHeaderIP      = errors.New("header: malformed fields of IP headers")
)

// AppendHeader appends the wire form of h. Both addresses have to be valid and to have no
// zone.
func AppendHeader(dst []byte, h Header) ([]byte, error) {
	for _, a := range []netip.AddrPort{h.Destination, h.Source} {
		if !a.IsValid() || a.Addr().Zone() != "" {
			return nil, fmt.Errorf("header: address %v: %w", a, errHeaderAddress)
		}
	}
	start := len(dst)
	dst = append(dst, headerVersion, 0, 0, 0)
	dst = appendAddrPort(dst, h.Destination)
	dst = appendAddrPort(dst, h.Source)
	if h.HostAddr.IsValid() {
		if !h.HostAddr.Is4() {
			return nil, fmt.Errorf("header: address %v: %w", h.HostAddr, errHeaderAddress)
		}
		dst = append(dst, optionHostAddr, 4)
		dst = append(dst, h.HostAddr.AsSlice()...)
	}
	if h.Socket != 0 {
		dst = append(dst, optionSocket, 8)
		dst = binary.BigEndian.AppendUint64(dst, h.Socket)
	}
	if h.Trace != 0 {
		dst = append(dst, optionTrace, 8)
		dst = binary.BigEndian.AppendUint64(dst, h.Trace)
	}
	if h.Optimistic {
		dst = append(dst, optionOptimistic, 0)
	}
	if h.DirectPort != 0 {
		dst = append(dst, optionDirect, 2)
		dst = binary.BigEndian.AppendUint16(dst, h.DirectPort)
	}
	if h.DirectTrial {
		dst = append(dst, optionTrial, 0)
	}
	if h.Urgent.Valid {
		dst = h.Urgent.append(append(dst, optionUrgent, sizeofUrgent))
	}
	if h.IP != (stream.IPFields{}) {
		dst = append(dst, optionIPFields, sizeofIPFields, h.IP.TTL, h.IP.TOS)
	}
	if h.MinTTL != 0 {
		dst = append(dst, optionMinTTL, 1, h.MinTTL)
	}
	if h.Update.Valid {
		dst = h.Update.append(append(dst, optionIPUpdate, sizeofIPUpdate))
	}
	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start-headerPreamble))
	return dst, nil
}

// ParseHeader reads a wire form that is exactly b.
func ParseHeader(b []byte) (Header, error) {
	n, err := parseHeaderPreamble(b)
	if err != nil {
		return Header{}, err
	}
	b = b[headerPreamble:]
	switch {
	case len(b) < n:
		return Header{}, errHeaderShort
	case len(b) > n:
		return Header{}, errHeaderLong
	}
	return parseHeaderRest(b)
}

// readHeader reads a header from a stream, and no byte after it.
func readHeader(r io.Reader) (Header, error) {
	var buf [maxHeaderRest]byte
	if _, err := io.ReadFull(r, buf[:headerPreamble]); err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	n, err := parseHeaderPreamble(buf[:headerPreamble])
	if err != nil {
		return Header{}, err
	}
	if _, err := io.ReadFull(r, buf[:n]); err != nil {
		return Header{}, fmt.Errorf("header: %w", err)
	}
	return parseHeaderRest(buf[:n])
}

// parseHeaderPreamble returns the number of bytes after the preamble.
func parseHeaderPreamble(b []byte) (int, error) {
	if len(b) < headerPreamble {
		return 0, errHeaderShort
	}
	if b[0] != headerVersion {
		return 0, fmt.Errorf("header: version %d, want %d", b[0], headerVersion)
	}
	if b[1] != 0 {
		return 0, errHeaderFlags
	}
	n := int(binary.BigEndian.Uint16(b[2:]))
	if n > maxHeaderRest {
		return 0, errHeaderLong
	}
	return n, nil
}

func parseHeaderRest(b []byte) (h Header, err error) {
	if h.Destination, b, err = cutAddrPort(b); err != nil {
		return Header{}, err
	}
	if h.Source, b, err = cutAddrPort(b); err != nil {
		return Header{}, err
	}
	for len(b) > 0 {
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return Header{}, errHeaderShort
		}
		switch b[0] {
		case optionHostAddr:
			if b[1] != 4 {
				return Header{}, errHeaderAddress
			}
			h.HostAddr = netip.AddrFrom4([4]byte(b[2:6]))
		case optionOptimistic:
			h.Optimistic = true
		case optionTrace:
			if b[1] != 8 {
				return Header{}, errHeaderTrace
			}
			h.Trace = binary.BigEndian.Uint64(b[2:])
		case optionSocket:
			if b[1] != 8 {
				return Header{}, errHeaderSocket
			}
			h.Socket = binary.BigEndian.Uint64(b[2:])
		case optionIPFields:
			if b[1] != sizeofIPFields {
				return Header{}, errHeaderIP
			}
			h.IP = stream.IPFields{TTL: b[2], TOS: b[3]}
		case optionMinTTL:
			if b[1] != 1 {
				return Header{}, errHeaderIP
			}
			h.MinTTL = b[2]
		case optionIPUpdate:
			if h.Update, err = parseIPUpdate(b[2 : 2+int(b[1])]); err != nil {
				return Header{}, err
			}
		case optionDirect:
			if b[1] != 2 {
				return Header{}, errHeaderDirect
			}
			h.DirectPort = binary.BigEndian.Uint16(b[2:])
		case optionTrial:
			h.DirectTrial = true
		case optionUrgent:
			if h.Urgent, err = parseUrgent(b[2 : 2+int(b[1])]); err != nil {
				return Header{}, err
			}
		}
		b = b[2+int(b[1]):]
	}
	return h, nil
}

func withoutPort(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr(), 0) }

// appendAddrPort appends family, port and address, as headers and offers have them.
func appendAddrPort(dst []byte, a netip.AddrPort) []byte {
	addr := a.Addr()
	family := byte(6)
	if addr.Is4() {
		family = 4
	}
	dst = append(dst, family)
	dst = binary.BigEndian.AppendUint16(dst, a.Port())
	return append(dst, addr.AsSlice()...)
}

// cutAddrPort reads what appendAddrPort has appended, and returns what follows.
func cutAddrPort(b []byte) (netip.AddrPort, []byte, error) {
	if len(b) < 3 {
		return netip.AddrPort{}, nil, errHeaderShort
	}
	size := 4
	switch b[0] {
	case 4:
	case 6:
		size = 16
	default:
		return netip.AddrPort{}, nil, errHeaderAddress
	}
	port := binary.BigEndian.Uint16(b[1:])
	if b = b[3:]; len(b) < size {
		return netip.AddrPort{}, nil, errHeaderShort
	}
	addr, _ := netip.AddrFromSlice(b[:size]) // the size is right
	return netip.AddrPortFrom(addr, port), b[size:], nil
}
