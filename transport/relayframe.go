package transport

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A relay frame carries a packet through the coordinator: six bytes, then the packet,
// which is encrypted from end to end.
//
//	0       magic, 0x2b
//	1       version, 1
//	2..5    node id, big endian: the receiver's on the way to the
//	        coordinator, the sender's on the way from it
//	6..     a QUIC packet or a STUN message
const (
	// relayMagic is not the first byte of a QUIC packet, whose two top bits are not both
	// 0, nor of a STUN message, which is 3 at most (RFC 9443 section 3). 20 to 63 are
	// DTLS, which this socket does not use.
	relayMagic   = 0x2b
	relayVersion = 1

	// relayHeaderSize is how much longer than its packet a frame is, in bytes.
	relayHeaderSize = 6
)

var errNotRelayFrame = errors.New("relay frame: too short or no magic")

// ParseRelayFrame splits a relay frame. The packet is a part of b.
func ParseRelayFrame(b []byte) (id uint32, packet []byte, err error) {
	if len(b) <= relayHeaderSize || b[0] != relayMagic {
		return 0, nil, errNotRelayFrame
	}
	if b[1] != relayVersion {
		return 0, nil, fmt.Errorf("relay frame: version %d, want %d", b[1], relayVersion)
	}
	return binary.BigEndian.Uint32(b[2:]), b[relayHeaderSize:], nil
}

// AppendRelayHeader appends the header of a frame to or from the node id. The caller
// appends the packet.
func AppendRelayHeader(dst []byte, id uint32) []byte {
	dst = append(dst, relayMagic, relayVersion)
	return binary.BigEndian.AppendUint32(dst, id)
}

// SetRelayID writes a node id into a frame that ParseRelayFrame has accepted. The
// coordinator replaces the receiver's id by the sender's.
func SetRelayID(frame []byte, id uint32) { binary.BigEndian.PutUint32(frame[2:6], id) }
