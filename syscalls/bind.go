package syscalls

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"golang.org/x/sys/unix"
)

// bind answers bind(2) for TCP and UDP: the program's address becomes the alias
// that stands for it.
func (n *Node) bind(c Call) reply {
	return onSocket(c, func(s *progSocket) reply { return n.bindSocket(c, s) })
}

func (n *Node) bindSocket(c Call, s *progSocket) reply {
	domain, typ, err := s.kind()
	if err != nil {
		return fail(err)
	}
	if domain == unix.AF_NETLINK && n.isNetlink(s.fd) {
		return n.bindNetlink(c, s.fd)
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
	want, err := readBindAddr(c, c.Ptr(1), c.Int(2), domain)
	if errors.Is(err, unix.EFAULT) {
		return fail(err)
	}
	if err != nil || want.V6 != (domain == unix.AF_INET6) {
		return passthrough // the kernel says what is wrong
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
	if err := n.permits(c, landlock.BindTCP, want.Addr.Port()); err != nil {
		return fail(err)
	}
	return n.untilKnown(func() error { return n.bindStream(s, want) })
}

// bindStream binds a TCP socket. From now on its address is the program's choice.
func (n *Node) bindStream(s *progSocket, want abi.Sockaddr) error {
	if err := n.binding(s).bind(want); err != nil {
		return err
	}
	if id, err := s.cookie(); err == nil {
		n.chosen.remove(id)
	}
	return nil
}

// errLeftToKernel says that the kernel does the call as it is.
var errLeftToKernel = errors.New("left to the kernel")

// untilKnown answers a call with what try returns. Where it cannot be known who has a
// port, for lack of descriptors, the call waits: to the kernel, bind(2) takes none.
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

// bindReply answers a bind(2) that has come to err.
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

// listen answers listen(2): the kernel listens, and the node remembers where.
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
	// listen(2) picks a port for a socket that has none; one that is not bound is for all
	// addresses then
	if local.Addr.Port() == 0 && local.Addr.Addr().Unmap().IsUnspecified() {
		if err := n.binding(s).bind(anyAddress(s.domain)); err != nil {
			return err
		}
	}
	if err := unix.Listen(s.fd, backlog); err != nil {
		return err
	}
	s.renamed() // it has a port now (IP_BIND_ADDRESS_NO_PORT, ip(7))
	if local, _, err = s.localName(); err != nil {
		return err
	}
	n.register(s, local)
	return nil
}

// register remembers where the program's listener with the kernel address local is to be
// found.
func (n *Node) register(s *progSocket, local abi.Sockaddr) {
	kernel, ok := n.reachedAt(s, local)
	if !ok {
		return
	}
	program := unmapped(n.local(local, abi.Sockaddr{}).Addr)
	for _, at := range n.servedAt(program, kernel) {
		n.listenFor(s, at, kernel, kernel != unmapped(local.Addr))
	}
	n.announce(program, kernel)
}

// servedAt returns the addresses of programs that a socket serves which is at a kernel
// address, and which the program has bound to another.
func (c *core) servedAt(program, kernel netip.AddrPort) []netip.AddrPort {
	if kernel.Addr() != c.Aliases.Dual {
		return []netip.AddrPort{program}
	}
	return []netip.AddrPort{program,
		netip.AddrPortFrom(netip.IPv4Unspecified(), program.Port())}
}

// listenFor notes that a listener is the node's at a kernel address for what the program
// knows as another. foreign says that it was made outside of the node.
func (n *Node) listenFor(s *progSocket, program, kernel netip.AddrPort, foreign bool) {
	if id, err := s.cookie(); err == nil {
		n.ports.listenOn(program, kernel, id, foreign)
	}
}
