package syscalls

import (
	"context"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// A progSocket is the supervisor's copy of a program's socket: another descriptor of the
// same open file description. It asks the kernel for each property of the socket once,
// when it is first needed, and keeps the answer. bind and connect change the names, so
// the methods that make these calls drop the known names.
//
// A progSocket has one owner, which closes it: onSocket, or the code that has taken over
// the socket or its descriptor. One goroutine uses it at a time.
type progSocket struct {
	fd          int // -1: closed, or taken over
	domain, typ int // set by kind
	id          uint64
	own, far    sockName
}

// A sockName is what getsockname(2) or getpeername(2) has answered about a socket.
type sockName struct {
	known bool // the kernel was asked since the last change
	addr  abi.Sockaddr
	ok    bool // the family is AF_INET or AF_INET6
	err   error
}

// onSocket runs f on a copy of the socket in the call's first argument. It closes the
// copy before the call is answered, so that a later close(2) of the program closes the
// last reference. If f's reply waits, it closes the copy after that.
func onSocket(c Call, f func(*progSocket) reply) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	s := &progSocket{fd: fd}
	r := f(s)
	if r.kind != replyWait {
		s.close()
		return r
	}
	wait := r.wait
	r.wait = func(ctx context.Context, c Call) reply {
		defer s.close()
		return wait(ctx, c)
	}
	return r
}

// close closes the copy, unless it was taken over. s may be nil.
func (s *progSocket) close() {
	if s != nil && s.fd >= 0 {
		linux.Close(s.fd)
		s.fd = -1
	}
}

// takeFD makes the caller the owner of the descriptor, and leaves s without one.
func (s *progSocket) takeFD() int {
	fd := s.fd
	s.fd = -1
	return fd
}

// dup makes one more copy, which the caller owns.
func (s *progSocket) dup() (*progSocket, error) {
	fd, err := unix.FcntlInt(uintptr(s.fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return &progSocket{fd: fd, domain: s.domain, typ: s.typ, id: s.id}, nil
}

// take makes the caller the owner of the socket, and leaves s without one.
func (s *progSocket) take() *progSocket {
	taken := *s
	s.fd = -1
	return &taken
}

// kind returns the socket's domain, and its type without flags. It fails with ENOTSOCK
// for a descriptor that is no socket.
func (s *progSocket) kind() (domain, typ int, err error) {
	if s.typ == 0 { // no type is 0
		if s.domain, s.typ, err = kind(s.fd); err != nil {
			s.typ = 0
			return 0, 0, err
		}
	}
	return s.domain, s.typ, nil
}

// isTCP reports whether the socket is one of TCP that the node translates. The kernel
// does the calls of others, and of those in another network namespace.
func (s *progSocket) isTCP() bool {
	domain, typ, err := s.kind()
	return err == nil && isInet(domain) && typ == unix.SOCK_STREAM && s.inOwnNamespace()
}

func (s *progSocket) inOwnNamespace() bool { return inOwnNamespace(s.fd) }

// cookie returns the socket's cookie, which identifies it as long as it exists
// (SO_COOKIE, socket(7)).
func (s *progSocket) cookie() (uint64, error) {
	if s.id == 0 { // no cookie is 0, __sock_gen_cookie in net/core/sock_diag.c
		id, err := cookie(s.fd)
		if err != nil {
			return 0, err
		}
		s.id = id
	}
	return s.id, nil
}

// localName returns the socket's own kernel address; ok is false for families other than
// AF_INET and AF_INET6.
func (s *progSocket) localName() (a abi.Sockaddr, ok bool, err error) {
	if !s.own.known {
		s.own.known = true
		s.own.addr, s.own.ok, s.own.err = localName(s.fd)
	}
	return s.own.addr, s.own.ok, s.own.err
}

// peerName returns the kernel address of the socket's peer. It fails with ENOTCONN if
// there is none.
func (s *progSocket) peerName() (a abi.Sockaddr, ok bool, err error) {
	if !s.far.known {
		s.far.known = true
		s.far.addr, s.far.ok, s.far.err = remoteName(s.fd)
	}
	return s.far.addr, s.far.ok, s.far.err
}

// renamed drops the known names, which a call may have changed.
func (s *progSocket) renamed() { s.own.known, s.far.known = false, false }

// state returns the TCP state, as in tcp_states.h. It may change at any time.
func (s *progSocket) state() (int, error) { return tcpState(s.fd) }

// nonblocking reports whether O_NONBLOCK is set.
func (s *progSocket) nonblocking() (bool, error) { return nonblocking(s.fd) }

// v6only reports whether IPV6_V6ONLY is set in the kernel.
func (s *progSocket) v6only() (bool, error) {
	domain, _, err := s.kind()
	if err != nil {
		return false, err
	}
	return v6only(s.fd, domain)
}

// mappable lets the socket use v4-mapped addresses, which are the aliases of AF_INET6
// sockets. It fails with EINVAL if the socket is bound.
func (s *progSocket) mappable() error { return mappable(s.fd, s.domain) }

// bindTo calls bind(2).
func (s *progSocket) bindTo(addr netip.AddrPort) error {
	s.renamed()
	return bindTo(s.fd, s.domain, addr)
}

// connectTo calls connect(2).
func (s *progSocket) connectTo(addr netip.AddrPort) error {
	s.renamed()
	return connectTo(s.fd, s.domain, addr)
}

// disconnect calls connect(2) with AF_UNSPEC.
func (s *progSocket) disconnect() error {
	s.renamed()
	return linux.Disconnect(s.fd)
}

// connectNow starts a connect without waiting for its end, also on a blocking socket.
func (s *progSocket) connectNow(addr netip.AddrPort) error {
	s.renamed()
	return connectNow(s.fd, s.domain, addr)
}

// takesFamily reports whether the socket can be connected to an address of that family.
// An AF_INET6 datagram socket also accepts AF_INET addresses (__ip6_datagram_connect in
// net/ipv6/datagram.c); glibc sorts addresses by such connects.
func (s *progSocket) takesFamily(dst abi.Sockaddr) bool {
	if s.domain != unix.AF_INET6 || dst.V6 {
		return dst.V6 == (s.domain == unix.AF_INET6)
	}
	only, err := s.v6only()
	return s.typ == unix.SOCK_DGRAM && err == nil && !only
}
