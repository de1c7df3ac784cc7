package syscalls

import (
	"context"
	"errors"
	"os"

	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

// fastOpen answers a call that sends with MSG_FASTOPEN on a TCP socket (tcp(7)): it
// connects the socket to dst as connect(2) does. Then the kernel goes on with the call;
// it finds a connect that has ended, and sends. Nothing is sent earlier, as on Linux to a
// server of which it has no cookie (RFC 7413 section 3), and a call that must not wait
// gives EINPROGRESS.
func (n *Node) fastOpen(c Call, dst abi.Sockaddr, flags int) reply {
	if !fastOpenEnabled() {
		return passthrough // EOPNOTSUPP
	}
	if err := n.permits(c, landlock.FastOpen, dst.Addr.Port()); err != nil {
		return fail(err)
	}
	return onSocket(c, func(s *progSocket) reply { return n.fastOpenSocket(c, s, dst, flags) })
}

// fastOpenEnabled reports what the host says of clients (tcp_fastopen, ip-sysctl).
func fastOpenEnabled() bool {
	const client = 1
	b, err := os.ReadFile("/proc/sys/net/ipv4/tcp_fastopen")
	if err != nil || len(b) == 0 {
		return false
	}
	// the low bit of a decimal digit is the number's, if there is one digit
	return b[0]&client != 0
}

// fastOpenSocket is fastOpen on a copy of the program's socket.
func (n *Node) fastOpenSocket(c Call, s *progSocket, dst abi.Sockaddr, flags int) reply {
	if !s.isTCP() {
		return passthrough
	}
	if state, err := s.state(); err != nil || state != tcpClose {
		// the kernel knows: EISCONN, EALREADY, or a wait for the connect under way
		return passthrough
	}
	nb, err := s.nonblocking()
	if err != nil {
		return fail(err)
	}
	// Without waiting, also where the call may wait: O_NONBLOCK of the program's socket
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

// thenSend lets the kernel send on a socket for which connect has come to r.
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
