package abi

import (
	"encoding/binary"
	"iter"
)

// A ControlMessage is one struct cmsghdr with its data (cmsg(3)).
type ControlMessage struct {
	Level, Type int32
	Data        []byte // a part of the buffer that was read
	Whole       []byte // likewise, with header and padding
}

// sizeofCmsghdr is the size of the native struct cmsghdr, and cmsgAlign the alignment of
// messages, both in bytes.
const (
	sizeofCmsghdr = 16
	cmsgAlign     = 8
)

// ControlMessages yields the messages of a buffer in the native layout, up to the first
// malformed one.
func ControlMessages(b []byte) iter.Seq[ControlMessage] {
	return func(yield func(ControlMessage) bool) {
		for len(b) >= sizeofCmsghdr {
			size := binary.NativeEndian.Uint64(b)
			if size < sizeofCmsghdr || size > uint64(len(b)) {
				return
			}
			next := min((int(size)+cmsgAlign-1)&^(cmsgAlign-1), len(b))
			m := ControlMessage{
				Level: int32(binary.NativeEndian.Uint32(b[8:])),
				Type:  int32(binary.NativeEndian.Uint32(b[12:])),
				Data:  b[sizeofCmsghdr:size], Whole: b[:next],
			}
			if !yield(m) {
				return
			}
			b = b[next:]
		}
	}
}

// PutControl appends a control message to a buffer that has room bytes in all, as
// put_cmsg of net/core/scm.c does. cut reports whether part of the message is missing.
func PutControl(out []byte, level, kind int32, data []byte, room int) (_ []byte,
	cut bool) {
	left := room - len(out)
	if left < sizeofCmsghdr {
		return out, true
	}
	if size := left - sizeofCmsghdr; size < len(data) {
		data, cut = data[:size], true
	}
	out = binary.NativeEndian.AppendUint64(out, uint64(sizeofCmsghdr+len(data)))
	out = binary.NativeEndian.AppendUint32(out, uint32(level))
	out = binary.NativeEndian.AppendUint32(out, uint32(kind))
	out = append(out, data...)
	for len(out)%cmsgAlign != 0 && len(out) < room {
		out = append(out, 0)
	}
	return out, cut
}
