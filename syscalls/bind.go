package syscalls

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"golang.org/x/sys/unix"
)

// bind answers bind(2) for TCP and UDP: it binds the socket to the alias of the address.
func (n *Node) bind(c Call) reply {
	return onSocket(c, func(s *progSocket) reply { return n.bindSocket(c, s) })
}

func (n *Node) bindSocket(c Call, s *progSocket) reply {
	domain, typ, err := s.kind()
	if err != nil {
		return fail(err)
	}
	if domain == unix.AF_NETLINK && n.netlinks.has(s.fd) {
		return n.netlinks.bind(c, s.fd)
	}
	if !isInet(domain) || typ != unix.SOCK_STREAM && typ != unix.SOCK_DGRAM ||
		!s.inOwnNamespace() {
		return passthrough
	}
	if typ == unix.SOCK_DGRAM {
		if ok, err := s.isUDP(); err != nil || !ok {
			return passthrough
		}
	}
	n.forgetNames(s)
	want, err := readBindAddr(c, c.Ptr(1), c.Int(2), domain)
	if errors.Is(err, unix.EFAULT) {
		return fail(err)
	}
	if err != nil || want.V6 != (domain == unix.AF_INET6) {
		return passthrough // the kernel reports the error
	}
	if typ == unix.SOCK_DGRAM {
		if lost := n.udp.lostClients(want.Addr.Port()); len(lost) > 0 {
			return async(func(ctx context.Context, c Call) reply {
				n.udp.findClients(lost)
				r := n.bind(c)
				for r.kind == replyWait {
					r = r.wait(ctx, c)
				}
				return r
			})
		}
		return n.untilKnown(func() error { return n.udp.bind(s, want) })
	}
	if err := n.landlock.permits(c, landlock.BindTCP, want.Addr.Port()); err != nil {
		return fail(err)
	}
	return n.untilKnown(func() error { return n.bindStream(s, want) })
}

// bindStream binds a TCP socket. The program has then chosen the socket's address.
func (n *Node) bindStream(s *progSocket, want abi.Sockaddr) error {
	if err := n.binding(s).bind(want); err != nil {
		return err
	}
	if id, err := s.cookie(); err == nil {
		n.chosen.remove(id)
	}
	return nil
}

// errLeftToKernel means that the kernel performs the call unchanged.
var errLeftToKernel = errors.New("left to the kernel")

// untilKnown answers a call with the result of try. If boxer cannot find out which socket
// has a port, because it has no descriptors left, the call waits. The kernel's bind(2)
// needs no descriptor, so it must not fail.
func (n *Node) untilKnown(try func() error) reply {
	err := try()
	if !errors.Is(err, errNoProbe) {
		return bindReply(err)
	}
	return async(func(ctx context.Context, _ Call) reply {
		for range probeTries {
			select {
			case <-time.After(probePause):
			case <-ctx.Done():
				return fail(ctx.Err())
			}
			if err = try(); !errors.Is(err, errNoProbe) {
				return bindReply(err)
			}
		}
		n.Logger.Error("bind", "err", err)
		return fail(err)
	})
}

const (
	probeTries = 100
	probePause = 50 * time.Millisecond
)

// bindReply returns the reply to a bind(2) with the result err.
func bindReply(err error) reply {
	if errors.Is(err, errLeftToKernel) {
		return passthrough
	}
	return fail(err)
}

// binding returns the binding of a TCP socket.
func (n *Node) binding(s *progSocket) binding {
	return binding{progSocket: s, core: &n.core, ports: &n.ports}
}

// listen answers listen(2). The kernel listens, and the node records the address.
func (n *Node) listen(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		if _, _, err := s.kind(); err != nil {
			return fail(err)
		}
		if !s.isTCP() {
			return passthrough
		}
		return n.untilKnown(func() error { return n.listenOn(s, c.Int(1)) })
	})
}

func (n *Node) listenOn(s *progSocket, backlog int) error {
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	// listen(2) chooses a port for a socket without one. A socket that is not bound then
	// listens on all addresses.
	if local.Addr.Port() == 0 && local.Addr.Addr().Unmap().IsUnspecified() ||
		n.chosen.isDissolved(s) {
		if err := n.bindUnbound(s); err != nil {
			return err
		}
	}
	if err := unix.Listen(s.fd, backlog); err != nil {
		return err
	}
	s.renamed() // the socket has a port now (IP_BIND_ADDRESS_NO_PORT, ip(7))
	if local, _, err = s.localName(); err != nil {
		return err
	}
	n.register(s, local)
	return nil
}

// bindUnbound binds a TCP socket that the program has not bound to all addresses. The
// address and IPV6_V6ONLY may be those of an earlier connect.
func (n *Node) bindUnbound(s *progSocket) error {
	only, err := n.chosen.onlyV6(s)
	if err != nil {
		return err
	}
	if kernel, err := s.v6only(); err == nil && only && !kernel {
		err := linux.SetsockoptInt(s.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
		if err != nil {
			return err
		}
	}
	return n.bindStream(s, anyAddress(s.domain))
}

// register records the kernel address of a program's listener.
func (n *Node) register(s *progSocket, local abi.Sockaddr) {
	kernel, ok := n.reachedAt(s, local)
	if !ok {
		return
	}
	program := unmapped(n.local(local, abi.Sockaddr{}).Addr)
	for _, at := range n.servedAt(program, kernel) {
		n.listenFor(s, at, kernel, kernel != unmapped(local.Addr))
	}
	n.listeners.announce(program, kernel)
}

// servedAt returns the program addresses that a socket serves. The program has bound it
// to the address program; the kernel has it at the address kernel.
func (c *core) servedAt(program, kernel netip.AddrPort) []netip.AddrPort {
	if kernel.Addr() != c.Aliases.Dual {
		return []netip.AddrPort{program}
	}
	return []netip.AddrPort{program,
		netip.AddrPortFrom(netip.IPv4Unspecified(), program.Port())}
}

// listenFor records a listener at a kernel address for a program address. foreign says
// that the socket was made outside of the node.
func (n *Node) listenFor(s *progSocket, program, kernel netip.AddrPort, foreign bool) {
	if id, err := s.cookie(); err == nil {
		n.ports.listenOn(program, kernel, id, foreign)
	}
}
