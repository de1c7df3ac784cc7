package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// TCP's urgent data (tcp(7)) has a position in the stream, the mark. The kernel shows it
// only to a reader that asks before each read. So that relays need not ask, the filter
// traps sends with MSG_OOB. Only the relay of such a connection asks, from then on.

// urgency says whether a relay's program sends urgent data.
type urgency struct {
	mu     sync.Mutex // also held by read
	conn   *loopConn  // nil until attach
	expect bool
}

// attach sets the relay's end of the connection.
func (u *urgency) attach(c *loopConn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conn, c.urgency = c, u
	if u.expect {
		c.setInline()
	}
}

// warn announces urgent data. It is called before the kernel sends the data.
func (u *urgency) warn() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.expect {
		return
	}
	u.expect = true
	if u.conn != nil {
		u.conn.setInline()
	}
}

// read calls read(2). If urgent is true, it has read one urgent byte and no other. u may
// be nil.
func (u *urgency) read(fd uintptr, b []byte) (n int, urgent bool, err error) {
	if u == nil {
		n, err = linux.Read(int(fd), b)
		return n, false, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.expect {
		// A byte that has arrived is urgent now or never. A byte that arrives between the
		// two calls might be either.
		if n, _, err = unix.Recvfrom(int(fd), b[:1],
			unix.MSG_PEEK|unix.MSG_DONTWAIT); n <= 0 || err != nil {
			return 0, false, err
		}
		mark, err := unix.IoctlGetInt(int(fd), unix.SIOCATMARK)
		if urgent = err == nil && mark != 0; urgent {
			b = b[:1]
		}
	}
	n, err = linux.Read(int(fd), b) // stops before a mark, unless it begins at one
	return n, urgent && n > 0, err
}

// setInline lets urgent bytes be read like others, and wake the reader.
func (c *loopConn) setInline() {
	c.control(func(fd int) error {
		return linux.SetsockoptInt(fd, unix.SOL_SOCKET,
			unix.SO_OOBINLINE, 1)

	})
}

// MarkUrgent implements Conn.
func (c *loopConn) MarkUrgent() error {
	c.urgent = true
	return nil
}

// warnUrgent announces a send with MSG_OOB to the connection's relay, before the kernel
// sends.
func (n *Node) warnUrgent(c Call) {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return
	}
	defer linux.Close(fd)
	if domain, typ, err := kind(fd); err != nil || !isInet(domain) ||
		typ != unix.SOCK_STREAM {
		return
	}
	local, _, err := localName(fd)
	if err != nil {
		return
	}
	if peer, ok, err := remoteName(fd); err == nil && ok {
		if p := n.relayed(unmapped(local.Addr), unmapped(peer.Addr)); p != nil {
			p.urgency.warn()
		}
	}
}

// relayed returns the peer of a relayed connection, by the program's end and the relay's,
// or nil.
func (n *Node) relayed(program, relay netip.AddrPort) *peer {
	n.peers.mu.RLock()
	defer n.peers.mu.RUnlock()
	if p := n.peers.dialled[gated{program, relay}]; p != nil {
		return p
	}
	return n.peers.accepted[relay]
}
