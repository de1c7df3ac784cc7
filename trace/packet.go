package trace

import (
	"encoding/binary"
	"net/netip"
)

// IANA's protocol numbers.
const (
	protoICMP   = 1
	protoTCP    = 6
	protoUDP    = 17
	protoICMPv6 = 58
)

// Flags of TCP (RFC 9293, section 3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK
)

// windowScale is the largest one that RFC 7323 allows. These windows never limited what a
// trace shows.
const windowScale = 14

// A segment is one IP packet to write: TCP, UDP, or an ICMP error about one.
type segment struct {
	from, to netip.AddrPort
	proto    byte
	seq, ack uint32
	flags    byte
	payload  []byte // captured
	length   int    // of the whole payload
}

// ends returns the addresses in one family, which is IPv4 if both addresses can be.
func (s *segment) ends() (from, to netip.Addr) {
	from, to = s.from.Addr().Unmap(), s.to.Addr().Unmap()
	if from.Is4() != to.Is4() || !from.IsValid() {
		from, to = netip.AddrFrom16(from.As16()), netip.AddrFrom16(to.As16())
	}
	return from, to
}

// packet appends the packet to b, and returns its full length. If a part of the payload
// was not captured, its checksum is unknown. UDP's is then 0, which means none, and so is
// TCP's.
func (s *segment) packet(b []byte, id uint16) (packet []byte, full int) {
	from, to := s.ends()
	var head []byte
	switch s.proto {
	case protoTCP:
		head = s.tcpHeader(from.Is4())
	case protoUDP:
		head = s.udpHeader()
	}
	full = len(head) + s.length
	b, full = appendIP(b, from, to, s.proto, id, full)
	transport := len(b)
	b = append(append(b, head...), s.payload...)
	at := transport + map[byte]int{protoTCP: 16, protoUDP: 6, protoICMP: 2,
		protoICMPv6: 2}[s.proto]
	if len(s.payload) == s.length {
		sum := checksum(from, to, s.proto, b[transport:])
		if sum == 0 && s.proto == protoUDP {
			sum = 0xffff
		}
		binary.BigEndian.PutUint16(b[at:], sum)
	}
	return b, full
}

// appendIP appends an IP header (RFC 791, RFC 8200) for a payload of that length, and
// returns the packet's length.
func appendIP(b []byte, from, to netip.Addr, proto byte, id uint16, length int) ([]byte, int) {
	start := len(b)
	if from.Is4() {
		b = append(b, 0x45, 0)
		b = binary.BigEndian.AppendUint16(b, uint16(min(20+length, 0xffff)))
		b = binary.BigEndian.AppendUint16(b, id)
		b = append(b, 0x40, 0, 64, proto, 0, 0)
		b = append(append(b, from.AsSlice()...), to.AsSlice()...)
		binary.BigEndian.PutUint16(b[start+10:], fold(add(0, b[start:])))
		return b, 20 + length
	}
	b = append(b, 0x60, 0, 0, 0)
	b = binary.BigEndian.AppendUint16(b, uint16(min(length, 0xffff)))
	b = append(b, proto, 64)
	return append(append(b, from.AsSlice()...), to.AsSlice()...), 40 + length
}

// tcpHeader returns the header, with checksum 0; a SYN offers a segment size and window
// scaling.
func (s *segment) tcpHeader(ipv4 bool) []byte {
	var h [28]byte
	binary.BigEndian.PutUint16(h[0:], s.from.Port())
	binary.BigEndian.PutUint16(h[2:], s.to.Port())
	binary.BigEndian.PutUint32(h[4:], s.seq)
	binary.BigEndian.PutUint32(h[8:], s.ack)
	h[13] = s.flags
	if s.flags&flagRST == 0 {
		binary.BigEndian.PutUint16(h[14:], 0xffff)
	}
	if s.flags&flagSYN == 0 {
		h[12] = 5 << 4
		return h[:20]
	}
	h[12] = 7 << 4
	mss := uint16(65535 - 40)
	if !ipv4 {
		mss = 65535 - 60
	}
	copy(h[20:], []byte{2, 4, byte(mss >> 8), byte(mss), 1, 3, 3, windowScale})
	return h[:]
}

func (s *segment) udpHeader() []byte {
	h := binary.BigEndian.AppendUint16(nil, s.from.Port())
	h = binary.BigEndian.AppendUint16(h, s.to.Port())
	h = binary.BigEndian.AppendUint16(h, uint16(min(8+s.length, 0xffff)))
	return append(h, 0, 0)
}

// unreachable returns the ICMP error with which s.to answers s: host or port unreachable
// (RFC 792, RFC 4443).
func (s *segment) unreachable(port bool) *segment {
	quoted, _ := s.packet(nil, 0)
	from, _ := s.ends()
	answer := &segment{from: netip.AddrPortFrom(s.to.Addr(), 0),
		to: netip.AddrPortFrom(s.from.Addr(), 0), proto: protoICMP}
	kind, code := byte(3), byte(1)
	if port {
		code = 3
	}
	if !from.Is4() {
		answer.proto, kind, code = protoICMPv6, 1, 3
		if port {
			code = 4
		}
	}
	answer.payload = append([]byte{kind, code, 0, 0, 0, 0, 0, 0},
		quoted[:min(len(quoted), 500)]...)
	answer.length = len(answer.payload)
	return answer
}

// checksum returns the checksum of TCP, UDP or ICMP. All except ICMP over IPv4 include a
// pseudo-header (RFC 9293, section 3.1; RFC 8200, section 8.1).
func checksum(from, to netip.Addr, proto byte, b []byte) uint16 {
	sum := uint32(0)
	if proto != protoICMP {
		sum = add(add(uint32(proto)+uint32(len(b)>>16)+uint32(len(b)&0xffff),
			from.AsSlice()), to.AsSlice())
	}
	return fold(add(sum, b))
}

// add adds 16-bit words (RFC 1071).
func add(sum uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	return sum
}

func fold(sum uint32) uint16 {
	for sum>>16 != 0 {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
