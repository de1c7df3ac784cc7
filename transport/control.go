package transport

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// controlSize is the room for the control messages of one packet, in bytes. Type of
// service, packet info (of both families) and segment size take 24 to 40 each (cmsg(3)).
const controlSize = 128

// cutControl returns the first control message of oob: its level, type and value, all of
// its bytes, and what follows. The value is nil if oob is empty or malformed.
func cutControl(oob []byte) (level, kind int32, value, whole, rest []byte) {
	if len(oob) < unix.SizeofCmsghdr {
		return 0, 0, nil, nil, nil
	}
	h, value, rest, err := unix.ParseOneSocketControlMessage(oob)
	if err != nil {
		return 0, 0, nil, nil, nil
	}
	return h.Level, h.Type, value, oob[:len(oob)-len(rest)], rest
}

// findControl returns the value of a control message in oob, which the caller may change
// in place; nil if there is none.
func findControl(oob []byte, level, kind int32) []byte {
	for len(oob) > 0 {
		l, k, value, _, rest := cutControl(oob)
		if value == nil {
			return nil
		}
		if l == level && k == kind {
			return value
		}
		oob = rest
	}
	return nil
}

// splitControl reads the control messages of a received datagram. segment is the size of
// the packets in it (0: it is one packet). forQUIC is dst with the messages for QUIC
// appended. Packet info tells QUIC from which local address to answer. That would tie a
// peer to one path, so splitControl leaves it out for peers.
func splitControl(dst, oob []byte, peer bool) (segment int, forQUIC []byte) {
	for len(oob) > 0 {
		level, kind, value, whole, rest := cutControl(oob)
		if value == nil {
			break
		}
		oob = rest
		switch {
		case level == unix.IPPROTO_UDP && kind == unix.UDP_GRO:
			if len(value) >= 4 {
				segment = int(int32(binary.NativeEndian.Uint32(value)))
			}
		case peer && level == unix.IPPROTO_IP && kind == unix.IP_PKTINFO:
		default:
			dst = append(dst, whole...)
		}
	}
	return segment, dst
}
