package rtnetlink

import (
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// The two lowest bits of a message type say what is done: new, delete, get or set
// (net/core/rtnetlink.c).
const (
	rtmKindMask = 3
	rtmKindGet  = 2
)

// Answer returns the messages that a program receives for the requests in b, which it
// sent to NETLINK_ROUTE, or nothing if there are none. The kernel of the host h would
// answer so. port is the port ID of the program's socket (netlink(7)). Malformed requests
// end the answer without an error, as in netlink_rcv_skb of net/netlink/af_netlink.c.
func Answer(h netif.Host, b []byte, port uint32) []byte {
	w := &netlinkWriter{port: port}
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
			if dump, errno = answerRoute(h, w, m); dump {
				continue
			}
		}
		if errno != 0 || m.flags&unix.NLM_F_ACK != 0 {
			w.fail(m, errno)
		}
	}
}

// answerRoute answers one request. dump reports whether the request was for a dump, which
// is not acknowledged (rtnetlink_rcv_msg of net/core/rtnetlink.c).
func answerRoute(h netif.Host, w *netlinkWriter, m netlinkRequest) (dump bool,
	errno unix.Errno) {
	switch {
	case m.kind > unix.RTM_MAX:
		return false, unix.EOPNOTSUPP
	case len(m.body) < unix.SizeofRtGenmsg:
		return false, 0
	case m.kind&rtmKindMask != rtmKindGet:
		return false, unix.EPERM // a program cannot change the node's interfaces
	case m.flags&unix.NLM_F_DUMP != 0:
		return answerDump(h, w, m)
	case m.kind == unix.RTM_GETLINK:
		return false, getLink(h, w, m)
	case m.kind == unix.RTM_GETROUTE:
		return false, getRoute(h, w, m)
	}
	return false, unix.EOPNOTSUPP
}
