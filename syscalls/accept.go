package syscalls

import (
	"context"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// accept answers accept(2), and accept4(2) with flags as its fourth argument.
// With a NULL address the filter does not trap it.
func (n *Node) accept(c Call) reply { return n.acceptFlags(c, 0) }

func (n *Node) accept4(c Call) reply { return n.acceptFlags(c, c.Int(3)) }

func (n *Node) acceptFlags(c Call, flags int) reply {
	if flags&^(unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK) != 0 {
		return fail(unix.EINVAL)
	}
	return onSocket(c, func(s *progSocket) reply { return n.acceptSocket(c, s, flags) })
}

func (n *Node) acceptSocket(c Call, s *progSocket, flags int) reply {
	if _, _, err := s.kind(); err != nil {
		return fail(err)
	}
	if !s.isTCP() {
		return passthrough
	}
	id, err := s.cookie()
	if err != nil {
		return fail(err)
	}
	if conn, ok := n.requeued.take(id); ok {
		linux.SetNonblock(conn.fd, flags&unix.SOCK_NONBLOCK != 0)
		return n.give(c, conn, flags, id)
	}
	nb, err := s.nonblocking()
	if err != nil {
		return fail(err)
	}
	if state, err := s.state(); err != nil || state != tcpListen {
		return fail(unix.EINVAL)
	}
	if nb {
		return n.acceptNow(c, s.fd, flags, id, false)
	}
	return async(func(ctx context.Context, c Call) reply {
		turn := n.readiness.hold(id, s.takeFD(), unix.SO_RCVTIMEO)
		defer turn.leave()
		return n.acceptWait(ctx, c, turn, flags)
	})
}

// acceptWait is accept on a blocking listener.
func (n *Node) acceptWait(ctx context.Context, c Call, turn *turn, flags int) reply {
	for fd, id := turn.fd, turn.id; ; {
		if err := turn.wait(ctx, c, unix.POLLIN); err != nil {
			return fail(err)
		}
		if !c.Pending() {
			// the call has ended: leave the connection to the next accept
			return fail(unix.EINTR)
		}
		if conn, ok := n.requeued.take(id); ok {
			linux.SetNonblock(conn.fd, flags&unix.SOCK_NONBLOCK != 0)
			return n.give(c, conn, flags, id)
		}
		// Another process may have accepted the connection. Then this accept waits for
		// the next one, as the program's own accept would.
		if ev, err := linux.Poll(fd, unix.POLLIN); err == nil && ev == 0 {
			continue
		}
		return n.acceptNow(c, fd, flags, id, true)
	}
}

// acceptNow accepts a connection from the listener.
func (n *Node) acceptNow(c Call, fd, flags int, id uint64, blocks bool) reply {
	conn, peer, err := rawAccept(fd, flags&unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, blocks)
	if err != nil {
		return fail(err)
	}
	got, after := n.insteadOf(accepted{fd: conn, peer: peer}, flags)
	if after != nil {
		n.tasks.Go(after) // it can wait until the program has its answer
	}
	return n.give(c, got, flags, id)
}

// An accepted connection that the program does not have yet.
type accepted struct {
	fd   int
	peer abi.Sockaddr // its kernel address, known even after a reset

	direct *directOffer // nil: the connection is over loopback
}

// give installs an accepted connection in the program, with its peer's address. If the
// call has ended meanwhile, the connection waits for the next accept.
func (n *Node) give(c Call, conn accepted, flags int, id uint64) reply {
	count := n.countNames()
	made := &progSocket{fd: conn.fd}
	local, _, err := made.localName()
	if err != nil {
		linux.Close(conn.fd)
		return fail(err)
	}
	n.describe(made, count) // before the program has it
	s, ok := n.remote(local, conn.peer)
	if !ok {
		s = conn.peer
		relay := netip.AddrPortFrom(s.Addr.Addr().Unmap(), s.Addr.Port())
		if peer, ok := n.peers.wasAccepted(relay); ok {
			s.Addr = peer
		}
	}
	if c.Ptr(1) == 0 { // possible only in traced calls
		return n.giveFD(conn, flags, id, n.endsOf(local, conn.peer, s))
	}
	if err := writeSockaddr(c, s, c.Ptr(1), c.Ptr(2)); err != nil {
		if !c.Pending() {
			n.requeue(id, conn)
		} else {
			linux.Close(conn.fd) // as Linux does
		}
		return fail(err)
	}
	return n.giveFD(conn, flags, id, n.endsOf(local, conn.peer, s))
}

func (n *Node) giveFD(conn accepted, flags int, listener uint64, ends Ends) reply {
	r := descriptor(conn.fd, flags&unix.SOCK_CLOEXEC != 0,
		func() { n.requeue(listener, conn) })
	r.ends = ends
	return r
}

// rawAccept calls accept4(2). blocks says that the listener is blocking, so the call may
// wait.
func rawAccept(fd, flags int, blocks bool) (conn int, peer abi.Sockaddr, err error) {
	var buf [abi.SizeofSockaddrStorage]byte
	conn, size, err := linux.Accept(fd, buf[:], flags, blocks)
	if err != nil {
		return -1, abi.Sockaddr{}, err
	}
	peer, err = abi.ParseSockaddr(buf[:min(size, len(buf))])
	if err != nil {
		linux.Close(conn)
		return -1, abi.Sockaddr{}, err
	}
	return conn, peer, nil
}
