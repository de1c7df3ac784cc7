package transport

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// controlSize is room for the control messages of one packet, in bytes: type of
// service, packet info (both families) and segment size take 24 to 40 each (cmsg(3)).
const controlSize = 128

// cutControl returns the first control message of oob: its level, type and
// value, the bytes of all of it, and what follows. The value is nil if oob is
// empty or malformed.
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

// findControl returns the value of a control message in oob, to be read or
// changed in place, or nil.
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

// splitControl reads what the kernel said about a received datagram: the size
// of the segments that it holds (0: it is one packet), and, appended to dst,
// the messages that QUIC should see. Packet info tells QUIC from which local
// address to answer; for a peer that would tie it to one path, so it is left out
// then.
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
