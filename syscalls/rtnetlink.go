package syscalls

import (
	"encoding/binary"
	"net/netip"

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

// Attributes and values that package unix lacks.
const (
	iflaTxqlen     = 13
	txQueueLen     = 1000 // DEFAULT_TX_QUEUE_LEN, in packets
	iflaOperstate  = 16
	iflaLinkmode   = 17
	iflaGroup      = 27
	iflaNumTx      = 31
	iflaNumRx      = 32
	nlmsgAlignment = 4
	nlaTypeMask    = 0x3fff
	sizeofStats    = 24 * 4 // struct rtnl_link_stats of linux/if_link.h
	// of a message type: new, delete, get, set (net/core/rtnetlink.c)
	rtmKindMask = 3
	rtmKindGet  = 2
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

// answerNetlink answers what a program sent to NETLINK_ROUTE, as a kernel would
// that has the node's interfaces. pid is the socket's address. The result is
// what the program receives, empty for nothing.
func (n *Node) answerNetlink(b []byte, pid uint32) []byte {
	w := &netlinkWriter{pid: pid}
	for {
		m, rest, ok := parseNetlink(b)
		if !ok {
			return w.b
		}
		b = rest
		w.seq = m.seq
		var errno unix.Errno
		if m.flags&unix.NLM_F_REQUEST != 0 && m.kind >= unix.RTM_BASE {
			var dump bool
			if dump, errno = n.answerRoute(w, m); dump {
				continue
			}
		}
		if errno != 0 || m.flags&unix.NLM_F_ACK != 0 {
			w.fail(m, errno)
		}
	}
}

// answerRoute answers one request. dump is true if it was one for a dump, which
// is not acknowledged.
func (n *Node) answerRoute(w *netlinkWriter, m netlinkRequest) (dump bool,
	errno unix.Errno) {
	switch {
	case m.kind > unix.RTM_MAX:
		return false, unix.EOPNOTSUPP
	case len(m.body) < unix.SizeofRtGenmsg:
		return false, 0
	case m.kind&rtmKindMask != rtmKindGet:
		return false, unix.EPERM // the node's interfaces are boxer's
	case m.flags&unix.NLM_F_DUMP != 0:
		return n.dump(w, m)
	case m.kind == unix.RTM_GETLINK:
		return false, n.getLink(w, m)
	case m.kind == unix.RTM_GETROUTE:
		return false, n.getRoute(w, m)
	}
	return false, unix.EOPNOTSUPP
}

func familyOf(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// getLink answers for one interface, by index or name.
func (n *Node) getLink(w *netlinkWriter, m netlinkRequest) unix.Errno {
	if len(m.body) < sizeofIfinfomsg {
		return unix.EINVAL
	}
	index := int32(binary.NativeEndian.Uint32(m.body[4:]))
	name, named := m.attribute(sizeofIfinfomsg, unix.IFLA_IFNAME)
	if !named {
		name, named = m.attribute(sizeofIfinfomsg, unix.IFLA_ALT_IFNAME)
	}
	l, ok := link{}, false
	switch {
	case index > 0:
		l, ok = n.linkAt(index)
	case named:
		l, ok = n.linkNamed(unix.ByteSliceToString(name))
	default:
		return unix.EINVAL
	}
	if !ok {
		return unix.ENODEV
	}
	w.link(l, 0)
	return 0
}

// link writes RTM_NEWLINK.
func (w *netlinkWriter) link(l link, flags uint16) {
	var b [sizeofIfinfomsg]byte
	binary.NativeEndian.PutUint16(b[2:], l.kind)
	binary.NativeEndian.PutUint32(b[4:], uint32(l.index))
	binary.NativeEndian.PutUint32(b[8:], l.flags)
	w.message(unix.RTM_NEWLINK, flags, b[:])
	w.attribute(unix.IFLA_IFNAME, append([]byte(l.name), 0))
	w.attributeUint32(iflaTxqlen, txQueueLen)
	w.attribute(iflaOperstate, []byte{l.state})
	w.attribute(iflaLinkmode, []byte{0})
	w.attributeUint32(unix.IFLA_MTU, l.mtu)
	w.attributeUint32(iflaGroup, 0)
	w.attributeUint32(iflaNumTx, 1)
	w.attributeUint32(iflaNumRx, 1)
	w.attribute(unix.IFLA_QDISC, []byte("noqueue\x00"))
	w.attribute(unix.IFLA_ADDRESS, l.mac[:])
	w.attribute(unix.IFLA_BROADCAST, l.broadcast())
	w.attribute(unix.IFLA_STATS, make([]byte, sizeofStats)) // nobody counts
}

func (l link) broadcast() []byte {
	if l.kind == unix.ARPHRD_LOOPBACK {
		return make([]byte, 6)
	}
	return []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}

// addressFlags returns the IFA_F_* flags of an address, and for how many seconds it is
// preferred. An IPv6 address of the network is deprecated (RFC 4862 section 5.5.4): it is
// as good as any, and new connections prefer another. So glibc puts a name's IPv4
// address first, as Go, musl and Java do with unique local addresses anyway (RFC 6724
// section 6, rules 3 and 6): old programs often try only the first, and old servers
// often listen at IPv4 alone.
func addressFlags(a netip.Addr) (flags, preferred uint32) {
	if a.Is6() && !a.IsLoopback() {
		return unix.IFA_F_PERMANENT | unix.IFA_F_DEPRECATED, 0
	}
	return unix.IFA_F_PERMANENT, ^uint32(0)
}

// address writes RTM_NEWADDR.
func (w *netlinkWriter) address(l link, p netip.Prefix) {
	flags, preferred := addressFlags(p.Addr())
	b := [sizeofIfaddrmsg]byte{0: familyOf(p.Addr()), 1: uint8(p.Bits()), 2: uint8(flags),
		3: unix.RT_SCOPE_UNIVERSE}
	if p.Addr().IsLoopback() {
		b[3] = unix.RT_SCOPE_HOST
	}
	binary.NativeEndian.PutUint32(b[4:], uint32(l.index))
	w.message(unix.RTM_NEWADDR, unix.NLM_F_MULTI, b[:])
	a := p.Addr().AsSlice()
	w.attribute(unix.IFA_ADDRESS, a)
	if p.Addr().Is4() {
		w.attribute(unix.IFA_LOCAL, a)
		w.attribute(unix.IFA_LABEL, append([]byte(l.name), 0))
	}
	w.attributeUint32(unix.IFA_FLAGS, flags)
	// struct ifa_cacheinfo: for how long preferred, and valid for ever
	cache := make([]byte, 16)
	binary.NativeEndian.PutUint32(cache, preferred)
	binary.NativeEndian.PutUint32(cache[4:], ^uint32(0))
	w.attribute(unix.IFA_CACHEINFO, cache)
}
