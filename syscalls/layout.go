package syscalls

import "encoding/binary"

// sizeofIfreq is the size of struct ifreq in bytes (linux/if.h). The last eight
// are not for the 32-bit ABI.
const sizeofIfreq = 40

// A layout is where the fields of struct msghdr and iovec lie, in bytes
// (include/linux/socket.h, include/net/compat.h).
type layout struct {
	word                                                int
	msghdr, mmsghdr, iovec                              int // sizes
	nameLen, iov, iovLen, control, controlLen, msgFlags int // offsets
	ifreq, ifconf, ifconfBuf                            int // sizes, and an offset
}

var (
	nativeLayout = layout{word: 8, msghdr: 56, mmsghdr: 64, iovec: 16, nameLen: 8,
		iov: 16, iovLen: 24, control: 32, controlLen: 40, msgFlags: 48,
		ifreq: 40, ifconf: 16, ifconfBuf: 8}
	compatLayout = layout{word: 4, msghdr: 28, mmsghdr: 32, iovec: 8, nameLen: 4, iov: 8,
		iovLen: 12, control: 16, controlLen: 20, msgFlags: 24,
		ifreq: 32, ifconf: 8, ifconfBuf: 4}
)

// wordAt reads a pointer or a size.
func (l *layout) wordAt(b []byte, offset int) uint64 {
	if l.word == 4 {
		return uint64(binary.NativeEndian.Uint32(b[offset:]))
	}
	return binary.NativeEndian.Uint64(b[offset:])
}

// encode encodes one.
func (l *layout) encode(v uint64) []byte {
	var b [8]byte
	binary.NativeEndian.PutUint64(b[:], v) // both architectures are little endian
	return b[:l.word]
}

// negative reports whether a size has the sign bit of its type, ssize_t.
func (l *layout) negative(v uint64) bool {
	if l.word == 4 {
		return int32(v) < 0
	}
	return int64(v) < 0
}
