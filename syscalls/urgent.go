package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// Urgent data of TCP (tcp(7)) has a place in the stream, the mark, which the kernel shows
// only to who asks before each read. So that relays need not ask, the filter traps the
// sends that have MSG_OOB, and only the relay of such a connection asks from then on.

// urgency is whether a relay's program sends urgent data.
type urgency struct {
	mu     sync.Mutex // a read holds it, too
	conn   *loopConn  // nil: not there yet
	expect bool
}

// attach tells the relay's end of the connection.
func (u *urgency) attach(c *loopConn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.conn, c.urgency = c, u
	if u.expect {
		c.setInline()
	}
}

// warn says that urgent data comes. It is called before the kernel sends that.
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

// read is read(2). If urgent is true, it has read an urgent byte and no other. u may be
// nil.
func (u *urgency) read(fd uintptr, b []byte) (n int, urgent bool, err error) {
	if u == nil {
		n, err = linux.Read(int(fd), b)
		return n, false, err
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.expect {
		// A byte that is there is urgent now or never; one that comes between the two
		// calls might be either.
		if n, _, err = unix.Recvfrom(int(fd), b[:1],
			unix.MSG_PEEK|unix.MSG_DONTWAIT); n <= 0 || err != nil {
			return 0, false, err
		}
		mark, err := unix.IoctlGetInt(int(fd), unix.SIOCATMARK)
		if urgent = err == nil && mark != 0; urgent {
			b = b[:1]
		}
	}
	n, err = linux.Read(int(fd), b) // ends before a mark, if it does not begin there
	return n, urgent && n > 0, err
}

// setInline makes that urgent bytes are read as others, and wake the reader.
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

// warnUrgent looks at a send with MSG_OOB: the relay of the connection learns of it
// before the kernel sends.
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

// relayed returns what is known of a relayed connection by the program's end and the
// relay's, or nil.
func (n *Node) relayed(program, relay netip.AddrPort) *peer {
	n.peers.mu.RLock()
	defer n.peers.mu.RUnlock()
	if p := n.peers.dialled[gated{program, relay}]; p != nil {
		return p
	}
	return n.peers.accepted[relay]
}
