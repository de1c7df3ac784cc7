package syscalls

import (
	"encoding/binary"
	"iter"
)

// A controlMessage is one struct cmsghdr with its data: see cmsg(3).
type controlMessage struct {
	level, kind int32
	data        []byte // a part of the buffer
	whole       []byte // with header and padding
}

// sizeofCmsghdr is the size of struct cmsghdr on 64-bit Linux in bytes, and
// what messages are aligned to.
const (
	sizeofCmsghdr = 16
	cmsgAlign     = 8
)

// controlMessages are the messages of a buffer, up to the first that is malformed.
func controlMessages(b []byte) iter.Seq[controlMessage] {
	return func(yield func(controlMessage) bool) {
		for len(b) >= sizeofCmsghdr {
			size := binary.NativeEndian.Uint64(b)
			if size < sizeofCmsghdr || size > uint64(len(b)) {
				return
			}
			next := min((int(size)+cmsgAlign-1)&^(cmsgAlign-1), len(b))
			m := controlMessage{
				level: int32(binary.NativeEndian.Uint32(b[8:])),
				kind:  int32(binary.NativeEndian.Uint32(b[12:])),
				data:  b[sizeofCmsghdr:size], whole: b[:next],
			}
			if !yield(m) {
				return
			}
			b = b[next:]
		}
	}
}

// putControl appends a control message as put_cmsg in net/core/scm.c does, in a
// buffer of room bytes; cut is true if there was not room for all of it.
func putControl(out []byte, level, kind int32, data []byte, room int) (_ []byte,
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
