package rtnetlink

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// Sizes in bytes of the structures of linux/netlink.h and linux/rtnetlink.h.
const (
	sizeofNlmsghdr  = 16
	sizeofIfinfomsg = 16
	sizeofIfaddrmsg = 8
	sizeofRtmsg     = 12
	sizeofRtattr    = 4
)

// nlmsgAlignment is the alignment of messages and attributes in bytes, and nlaTypeMask
// the part of an attribute's type that is no flag (linux/netlink.h).
const (
	nlmsgAlignment = 4
	nlaTypeMask    = 0x3fff
)

// A netlinkRequest is one message that a program sent to NETLINK_ROUTE.
type netlinkRequest struct {
	kind, flags uint16
	seq         uint32
	header      []byte // the struct nlmsghdr, which an error message repeats
	body        []byte
}

// parseNetlink splits the first message from b. ok is false if b has none, or a malformed
// one.
func parseNetlink(b []byte) (m netlinkRequest, rest []byte, ok bool) {
	if len(b) < sizeofNlmsghdr {
		return netlinkRequest{}, nil, false
	}
	size := uint64(binary.NativeEndian.Uint32(b))
	if size < sizeofNlmsghdr || size > uint64(len(b)) {
		return netlinkRequest{}, nil, false
	}
	m = netlinkRequest{
		kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]),
		seq: binary.NativeEndian.Uint32(b[8:]), header: b[:sizeofNlmsghdr],
		body: b[sizeofNlmsghdr:size],
	}
	next := min((size+nlmsgAlignment-1)&^(nlmsgAlignment-1), uint64(len(b)))
	return m, b[next:], true
}

// attribute returns the value of an attribute. The attributes follow a structure of after
// bytes.
func (m netlinkRequest) attribute(after int, kind uint16) ([]byte, bool) {
	if len(m.body) < after {
		return nil, false
	}
	b := m.body[after:]
	for len(b) >= sizeofRtattr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < sizeofRtattr || size > len(b) {
			return nil, false
		}
		if binary.NativeEndian.Uint16(b[2:])&nlaTypeMask == kind {
			return b[sizeofRtattr:size], true
		}
		b = b[min((size+nlmsgAlignment-1)&^(nlmsgAlignment-1), len(b)):]
	}
	return nil, false
}

// A netlinkWriter encodes the messages of an answer.
type netlinkWriter struct {
	b     []byte
	seq   uint32
	port  uint32 // the port ID of the socket that receives them
	begin int    // the offset of the last message
}

// message appends a message without attributes.
func (w *netlinkWriter) message(kind, flags uint16, body []byte) {
	for len(w.b)%nlmsgAlignment != 0 { // an error message repeats a request of any size
		w.b = append(w.b, 0)
	}
	w.begin = len(w.b)
	w.b = append(w.b, 0, 0, 0, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, kind)
	w.b = binary.NativeEndian.AppendUint16(w.b, flags)
	w.b = binary.NativeEndian.AppendUint32(w.b, w.seq)
	w.b = binary.NativeEndian.AppendUint32(w.b, w.port)
	w.b = append(w.b, body...)
	w.end()
}

// attribute appends an attribute to the last message.
func (w *netlinkWriter) attribute(kind uint16, v []byte) {
	w.b = binary.NativeEndian.AppendUint16(w.b, uint16(sizeofRtattr+len(v)))
	w.b = binary.NativeEndian.AppendUint16(w.b, kind)
	w.b = append(w.b, v...)
	for len(w.b)%nlmsgAlignment != 0 {
		w.b = append(w.b, 0)
	}
	w.end()
}

func (w *netlinkWriter) attributeUint32(kind uint16, v uint32) {
	w.attribute(kind, binary.NativeEndian.AppendUint32(nil, v))
}

// end sets the size of the last message.
func (w *netlinkWriter) end() {
	binary.NativeEndian.PutUint32(w.b[w.begin:], uint32(len(w.b)-w.begin))
}

// fail appends an NLMSG_ERROR message. Errno 0 acknowledges the request.
func (w *netlinkWriter) fail(m netlinkRequest, errno unix.Errno) {
	flags := uint16(unix.NLM_F_CAPPED)
	body := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	body = append(body, m.header...)
	if errno != 0 {
		body, flags = append(body, m.body...), 0
	}
	w.message(unix.NLMSG_ERROR, flags, body)
}
