package syscalls

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

// A netlinkRequest is one message of a program to NETLINK_ROUTE.
type netlinkRequest struct {
	kind, flags uint16
	seq         uint32
	header      []byte // all of struct nlmsghdr, which an error repeats
	body        []byte
}

// parseNetlink takes the first message off b, as netlink_rcv_skb of
// net/netlink/af_netlink.c does: what is malformed ends it without a word.
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

// attribute returns the value of a request's attribute, which come after a
// structure of so many bytes.
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

// A netlinkWriter builds the messages of an answer.
type netlinkWriter struct {
	b     []byte
	seq   uint32
	pid   uint32 // the socket's address
	begin int    // where the message at work begins
}

func (w *netlinkWriter) message(kind, flags uint16, body []byte) {
	for len(w.b)%nlmsgAlignment != 0 { // the one before may repeat an odd request
		w.b = append(w.b, 0)
	}
	w.begin = len(w.b)
	w.b = append(w.b, 0, 0, 0, 0)
	w.b = binary.NativeEndian.AppendUint16(w.b, kind)
	w.b = binary.NativeEndian.AppendUint16(w.b, flags)
	w.b = binary.NativeEndian.AppendUint32(w.b, w.seq)
	w.b = binary.NativeEndian.AppendUint32(w.b, w.pid)
	w.b = append(w.b, body...)
	w.end()
}

// attribute adds one to the message at work.
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

func (w *netlinkWriter) end() {
	binary.NativeEndian.PutUint32(w.b[w.begin:], uint32(len(w.b)-w.begin))
}

// fail answers with NLMSG_ERROR; errno 0 acknowledges.
func (w *netlinkWriter) fail(m netlinkRequest, errno unix.Errno) {
	flags := uint16(unix.NLM_F_CAPPED)
	body := binary.NativeEndian.AppendUint32(nil, uint32(-int32(errno)))
	body = append(body, m.header...)
	if errno != 0 {
		body, flags = append(body, m.body...), 0
	}
	w.message(unix.NLMSG_ERROR, flags, body)
}
