package abi

import "encoding/binary"

// sizeofCompatCmsghdr is the size of struct compat_cmsghdr (include/net/compat.h), and
// compatCmsgAlign the alignment of messages of the 32-bit ABI, both in bytes.
const (
	sizeofCompatCmsghdr = 12
	compatCmsgAlign     = 4
)

// CompatControl converts control messages from the native layout to that of the 32-bit
// ABI (cmsg(3)). The result has at most room bytes; cut reports whether a message is
// missing.
func CompatControl(b []byte, room uint64) (out []byte, cut bool) {
	for m := range ControlMessages(b) {
		size := sizeofCompatCmsghdr + len(m.Data)
		if uint64(len(out)+size) > room {
			return out, true
		}
		out = binary.NativeEndian.AppendUint32(out, uint32(size))
		out = append(append(out, m.Whole[8:sizeofCmsghdr]...), m.Data...)
		for len(out)%compatCmsgAlign != 0 && uint64(len(out)) < room {
			out = append(out, 0)
		}
	}
	return out, false
}

// NativeControl converts control messages from the layout of the 32-bit ABI to the native
// one. A malformed message stays malformed, so that the kernel fails with EINVAL.
func NativeControl(b []byte) []byte {
	var out []byte
	for len(b) >= sizeofCompatCmsghdr {
		size := int(binary.NativeEndian.Uint32(b))
		if size < sizeofCompatCmsghdr || size > len(b) {
			return append(out, make([]byte, sizeofCmsghdr)...)
		}
		data := b[sizeofCompatCmsghdr:size]
		out = binary.NativeEndian.AppendUint64(out, uint64(sizeofCmsghdr+len(data)))
		out = append(append(out, b[4:sizeofCompatCmsghdr]...), data...)
		for len(out)%cmsgAlign != 0 {
			out = append(out, 0)
		}
		b = b[min((size+compatCmsgAlign-1)&^(compatCmsgAlign-1), len(b)):]
	}
	return out
}
