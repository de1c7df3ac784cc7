package sockdiag

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Sizes and alignment in bytes of linux/netlink.h.
const (
	sizeofNlmsghdr = 16
	sizeofNlattr   = 4
	alignment      = 4

	attrTypeMask = 0x3fff // NLA_TYPE_MASK
)

// A message is one of netlink(7).
type message struct {
	kind, flags uint16
	seq         uint32
	bytes       []byte // with its struct nlmsghdr
}

// next splits the first message from b. ok is false if b has none, or a malformed one.
func next(b []byte) (m message, rest []byte, ok bool) {
	if len(b) < sizeofNlmsghdr {
		return message{}, nil, false
	}
	size := uint64(binary.NativeEndian.Uint32(b))
	if size < sizeofNlmsghdr || size > uint64(len(b)) {
		return message{}, nil, false
	}
	m = message{
		kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
		seq: binary.NativeEndian.Uint32(b[8:]), bytes: b[:size],
	}
	return m, b[min(aligned(size), uint64(len(b))):], true
}

func aligned(size uint64) uint64 { return (size + alignment - 1) &^ (alignment - 1) }

// body returns what follows the struct nlmsghdr.
func (m message) body() []byte { return m.bytes[sizeofNlmsghdr:] }

// attribute returns the value of an attribute of a type, or nothing.
func attribute(b []byte, kind uint16) []byte {
	for len(b) >= sizeofNlattr {
		size := uint64(binary.NativeEndian.Uint16(b))
		if size < sizeofNlattr || size > uint64(len(b)) {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&attrTypeMask == kind {
			return b[sizeofNlattr:size]
		}
		b = b[min(aligned(size), uint64(len(b))):]
	}
	return nil
}

// maxDatagram is how much one datagram of an answer has, in bytes, as in the kernel
// (NLMSG_GOODSIZE of include/linux/netlink.h). A message is shorter.
const maxDatagram = 8192

// A writer collects the messages of an answer in datagrams.
type writer struct {
	port      uint32 // of the socket that receives them
	datagrams [][]byte
}

// add appends a message, under the port of the socket that receives it.
func (w *writer) add(b []byte) {
	last := len(w.datagrams) - 1
	size := int(aligned(uint64(len(b))))
	if last < 0 || len(w.datagrams[last])+size > maxDatagram {
		w.datagrams = append(w.datagrams, make([]byte, 0, max(size, 512)))
		last++
	}
	d := append(w.datagrams[last], b...)
	binary.NativeEndian.PutUint32(d[len(d)-len(b)+12:], w.port)
	w.datagrams[last] = append(d, make([]byte, size-len(b))...)
}

// header returns the struct nlmsghdr of a message that answers m.
func header(m message, kind, flags uint16, body int) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(sizeofNlmsghdr+body))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, m.seq)
	return binary.NativeEndian.AppendUint32(b, 0)
}

// fail adds an NLMSG_ERROR, which repeats the request. Errno 0 acknowledges it.
func (w *writer) fail(m message, errno unix.Errno) {
	repeat, flags := m.bytes, uint16(0)
	if errno == 0 {
		repeat, flags = m.bytes[:sizeofNlmsghdr], unix.NLM_F_CAPPED
	}
	b := header(m, unix.NLMSG_ERROR, flags, 4+len(repeat))
	b = binary.NativeEndian.AppendUint32(b, uint32(-int32(errno)))
	w.add(append(b, repeat...))
}

// done ends a dump.
func (w *writer) done(m message) {
	w.add(append(header(m, unix.NLMSG_DONE, unix.NLM_F_MULTI, 4), 0, 0, 0, 0))
}
