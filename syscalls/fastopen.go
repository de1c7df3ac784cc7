package syscalls

import (
	"context"
	"errors"
	"os"

	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

// fastOpen answers a send with MSG_FASTOPEN on a TCP socket (tcp(7)). It connects the
// socket to dst as connect(2) does. Then the kernel performs the call, finds the socket
// connected, and sends. Data is not sent earlier, as on Linux to a server whose cookie it
// does not have (RFC 7413 section 3). A non-blocking call gets EINPROGRESS.
func (n *Node) fastOpen(c Call, dst abi.Sockaddr, flags int) reply {
	if !fastOpenEnabled() {
		return passthrough // EOPNOTSUPP
	}
	if err := n.landlock.permits(c, landlock.FastOpen, dst.Addr.Port()); err != nil {
		return fail(err)
	}
	return onSocket(c, func(s *progSocket) reply { return n.fastOpenSocket(c, s, dst, flags) })
}

// fastOpenEnabled reports whether the host enables TCP Fast Open for clients
// (tcp_fastopen, ip-sysctl).
func fastOpenEnabled() bool {
	const client = 1
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_fastopen")
	if err != nil || len(b) == 0 {
		return false
	}
	// the low bit of a decimal digit is that of the number, if it has one digit
	return b[0]&client != 0
}

// fastOpenSocket is fastOpen on a copy of the program's socket.
func (n *Node) fastOpenSocket(c Call, s *progSocket, dst abi.Sockaddr, flags int) reply {
	if !s.isTCP() {
		return passthrough
	}
	n.forgetNames(s)
	if state, err := s.state(); err != nil || state != tcpClose {
		// the kernel returns EISCONN or EALREADY, or waits for the connect in progress
		return passthrough
	}
	nb, err := s.nonblocking()
	if err != nil {
		return fail(err)
	}
	// Without waiting, even if the call may wait: O_NONBLOCK of the program's socket
	// stays as it is, and thenSend waits.
	connected := n.connectStream(connectCall{progSocket: s, tid: c.TID(),
		dst: unmapped(dst.Addr)}, dst)
	return async(func(ctx context.Context, c Call) reply {
		r := connected
		if r.kind == replyWait {
			r = r.wait(ctx, c)
		}
		return n.thenSend(ctx, s, r, !nb && flags&unix.MSG_DONTWAIT == 0)
	})
}

// thenSend lets the kernel perform the send after connect has returned r.
func (n *Node) thenSend(ctx context.Context, s *progSocket, r reply, block bool) reply {
	if r.kind == replyErrno && r.errno == unix.EINPROGRESS && block {
		switch err := n.readiness.wait(ctx, s.fd, unix.POLLOUT, unix.SO_SNDTIMEO); {
		case errors.Is(err, unix.EAGAIN):
			return r
		case err != nil:
			return fail(err)
		}
		id, err := s.cookie()
		if err != nil {
			return fail(err)
		}
		if errno, ok := n.pendingConnects.takeError(id); ok {
			completeConnect(s.fd)
			return fail(errno)
		}
		return passthrough
	}
	if r.kind == replyErrno {
		return r
	}
	return passthrough
}
