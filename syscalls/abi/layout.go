package abi

import "encoding/binary"

// A Layout has the sizes and offsets of structures that hold pointers or sizes, in bytes:
// struct msghdr, mmsghdr, iovec, ifreq and ifconf (include/linux/socket.h,
// include/net/compat.h, linux/if.h).
type Layout struct {
	// Word is the size of a pointer and of a size_t.
	Word int

	SizeofMsghdr, SizeofMmsghdr, SizeofIovec int

	// Offsets of the fields of struct msghdr. The first field, msg_name, is at 0.
	MsgNamelen, MsgIov, MsgIovlen, MsgControl, MsgControllen, MsgFlags int

	SizeofIfreq, SizeofIfconf int

	// IfconfBuf is the offset of ifc_buf in struct ifconf.
	IfconfBuf int
}

// Native is the layout of the 64-bit ABI, and Compat that of the 32-bit ABI.
var (
	Native = Layout{Word: 8, SizeofMsghdr: 56, SizeofMmsghdr: 64, SizeofIovec: 16,
		MsgNamelen: 8, MsgIov: 16, MsgIovlen: 24, MsgControl: 32, MsgControllen: 40,
		MsgFlags: 48, SizeofIfreq: SizeofIfreq, SizeofIfconf: 16, IfconfBuf: 8}
	Compat = Layout{Word: 4, SizeofMsghdr: 28, SizeofMmsghdr: 32, SizeofIovec: 8,
		MsgNamelen: 4, MsgIov: 8, MsgIovlen: 12, MsgControl: 16, MsgControllen: 20,
		MsgFlags: 24, SizeofIfreq: 32, SizeofIfconf: 8, IfconfBuf: 4}
)

// SizeofIfreq is the size of the native struct ifreq in bytes. The 32-bit ABI lacks the
// last eight.
const SizeofIfreq = 40

// WordAt returns the pointer or size_t at an offset of b.
func (l *Layout) WordAt(b []byte, offset int) uint64 {
	if l.Word == 4 {
		return uint64(binary.NativeEndian.Uint32(b[offset:]))
	}
	return binary.NativeEndian.Uint64(b[offset:])
}

// EncodeWord returns the bytes of a pointer or size_t.
func (l *Layout) EncodeWord(v uint64) []byte {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], v) // both architectures are little endian
	return b[:l.Word]
}

// negative reports whether v, read as a ssize_t, is negative.
func (l *Layout) negative(v uint64) bool {
	if l.Word == 4 {
		return int32(v) < 0
	}
	return int64(v) < 0
}
