package syscalls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
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
		if _, ok, err := isUDP(s.fd); err != nil || !ok {
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
		if lost := n.lostClients(want.Addr.Port()); len(lost) > 0 {
			return async(func(ctx context.Context, c Call) reply {
				n.findClients(lost)
				r := n.bind(c)
				for r.kind == replyWait {
					r = r.wait(ctx, c)
				}
				return r
			})
		}
		return n.untilKnown(func() error { return n.bindDatagram(s, want) })
	}
	if err := n.permits(c, landlock.BindTCP, want.Addr.Port()); err != nil {
		return fail(err)
	}
	return n.untilKnown(func() error { return n.bindStream(s, want) })
}

// bindStream binds a TCP socket. From now on its address is the program's choice.
func (n *Node) bindStream(s *progSocket, want abi.Sockaddr) error {
	if err := n.bindTo(binding{s, &n.ports}, want); err != nil {
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

// bindDatagram binds a UDP socket. Bound to any port, it keeps a port of the
// host's own on all addresses: it is a client's, most likely, and may send to
// the outside as well.
func (n *Node) bindDatagram(s *progSocket, want abi.Sockaddr) error {
	if n.pings.has(s.fd) {
		return n.bindPing(s.fd, s.domain, want.Addr)
	}
	if want.Addr.Addr().Unmap().IsUnspecified() && want.Addr.Port() == 0 {
		return n.bindHost(s.fd, s.domain, want)
	}
	if err := n.bindTo(binding{s, &n.datagramPorts}, want); err != nil {
		return err
	}
	local, _, err := s.localName()
	if err != nil {
		return err
	}
	err = n.show(s.fd)
	n.register(&n.datagramPorts, s, local)
	n.reconnectLocal(want.Addr.Port())
	return err
}

// bindHost binds a UDP socket to a port of the host's own.
func (n *Node) bindHost(fd, domain int, want abi.Sockaddr) error {
	only, err := v6only(fd, domain)
	if err != nil {
		return err
	}
	if only && want.Addr.Addr().Is6() && !want.Addr.Addr().Is4In6() {
		if err := mappable(fd, domain); err != nil {
			return err
		}
	}
	if err := bindTo(fd, domain, want.Addr); err != nil {
		return err
	}
	local, _, err := localName(fd)
	if err != nil {
		return err
	}
	kernel := netip.AddrPortFrom(localhost4, local.Addr.Port())
	if !only {
		n.flows.bind(netip.IPv4Unspecified(), kernel)
	}
	if want.V6 && !want.Addr.Addr().Is4In6() {
		n.flows.bind(netip.IPv6Unspecified(), kernel)
	}
	return n.show(fd)
}

// A binding is a socket that is being bound, and the table of its protocol's ports.
type binding struct {
	*progSocket
	ports *ports
}

// bindTo binds a socket to what a program wants.
func (n *Node) bindTo(b binding, want abi.Sockaddr) error {
	only, err := b.v6only()
	if err != nil {
		return err
	}
	if a := unmapped(want.Addr); a.Addr().Is4() && a.Addr().IsLoopback() &&
		a.Addr() != localhost4 && !(want.V6 && only) {
		if taken, err := n.takenByOwn(b, want, only); err != nil || taken {
			return b.inUse(err)
		}
		return n.bindLoopback(b, a)
	}
	r, err := n.roleFor(b.fd, want, only)
	if err != nil {
		return err
	}
	if want.Addr.Port() != 0 {
		if taken, err := n.takenByRival(b, r, want, only); err != nil || taken {
			return b.inUse(err)
		}
	}
	if only {
		if err := b.mappable(); err != nil {
			return err // EINVAL: it is bound
		}
	}
	if want.Addr.Port() == 0 {
		err = n.bindFree(b, r, want, only)
	} else {
		err = n.bindAlias(b, netip.AddrPortFrom(n.Aliases.of(r), want.Addr.Port()))
	}
	if err != nil && only {
		linux.SetsockoptInt(b.fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return err
}

// takenByRival reports whether a socket at another address than that of role r keeps b
// from a port that it would have at both. The kernel does not know that the aliases of
// the wildcards stand for all addresses.
func (n *Node) takenByRival(b binding, r role, want abi.Sockaddr, only bool) (bool, error) {
	if taken, err := n.takenByOwn(b, want, only); err != nil || taken {
		return taken, err
	}
	for _, rival := range r.rivals() {
		at := netip.AddrPortFrom(n.Aliases.of(rival), want.Addr.Port())
		if taken, err := n.taken(b, at); err != nil || taken {
			return taken, err
		}
	}
	return n.loopbackTaken(b, r, want.Addr.Port())
}

// bindFree binds to a port of the kernel's choice. The kernel chooses one that is free at
// the alias of role r; where a rival has it, which bind(2) to that port would find, it
// chooses again. Binding to a port by its number would keep the port for the socket also
// after a failed connect (SOCK_BINDPORT_LOCK in net/ipv4/inet_connection_sock.c).
func (n *Node) bindFree(b binding, r role, want abi.Sockaddr, only bool) error {
	for range bindFreeTries {
		if err := b.bindTo(netip.AddrPortFrom(n.Aliases.of(r), 0)); err != nil {
			return err
		}
		local, _, err := b.localName()
		if err != nil {
			return fmt.Errorf("getsockname: %w", err)
		}
		at := unmapped(local.Addr)
		if at.Port() == 0 { // connect(2) chooses (IP_BIND_ADDRESS_NO_PORT, ip(7))
			return nil
		}
		chosen := abi.Sockaddr{Addr: netip.AddrPortFrom(want.Addr.Addr(), at.Port()),
			V6: want.V6}
		taken, err := n.chosenTaken(b, r, chosen, only)
		if err == nil && !taken {
			b.ports.forget(at)
			return nil
		}
		if e := b.unbind(); e != nil {
			return fmt.Errorf("give port %d up: %w", at.Port(), e)
		}
		if err != nil {
			return err
		}
	}
	return unix.EADDRINUSE
}

// bindFreeTries bounds how often a port is chosen. Each choice is at random.
const bindFreeTries = 100

// chosenTaken reports whether somebody else in the node has the port that the kernel has
// chosen.
func (n *Node) chosenTaken(b binding, r role, chosen abi.Sockaddr, only bool) (bool, error) {
	port := chosen.Addr.Port()
	if b.typ == unix.SOCK_DGRAM { // one that is connected is at 127.0.0.1
		for _, any := range []netip.Addr{netip.IPv4Unspecified(),
			netip.IPv6Unspecified()} {
			if kernel, ok := n.flows.boundAt(any, port); ok && n.stillThere(kernel) {
				return true, nil
			}
		}
	}
	if moved, ok := b.ports.movedTo(netip.AddrPortFrom(n.Aliases.of(r), port)); ok {
		if err := probe(b.typ, b.fd, moved); err != nil {
			return errors.Is(err, unix.EADDRINUSE), ignoreOthers(err)
		}
	}
	return n.takenByRival(b, r, chosen, only)
}

// unbind gives up a port that the kernel has chosen. It keeps the ports of TCP sockets
// that are bound, but not of one that has listened (tcp_set_state in net/ipv4/tcp.c).
func (s *progSocket) unbind() error {
	s.renamed()
	if s.typ == unix.SOCK_STREAM {
		if err := unix.Listen(s.fd, 0); err != nil {
			return err
		}
	}
	return linux.Disconnect(s.fd)
}

// mayBeForeign reports whether Linux binds a socket to an address that no
// interface has: broadcast and multicast ones, and any with IP_FREEBIND or
// IP_TRANSPARENT (ip(7), inet_addr_valid_or_nonlocal of include/net/inet_sock.h).
func mayBeForeign(fd int, addr netip.Addr) bool {
	if addr.IsMulticast() || addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
		return true
	}
	for _, opt := range []int{unix.IP_FREEBIND, unix.IP_TRANSPARENT} {
		if v, err := linux.GetsockoptInt(fd, unix.IPPROTO_IP, opt); err == nil && v != 0 {
			return true
		}
	}
	return false
}

// roleFor returns the role of the alias that stands for an address which a
// program wants. only tells of IPV6_V6ONLY.
func (n *Node) roleFor(fd int, want abi.Sockaddr, only bool) (role, error) {
	switch a := want.Addr.Addr(); {
	case a.Is4In6() && only:
		return 0, unix.EINVAL
	case a == netip.IPv6Unspecified() && only:
		return wildcard6, nil
	case a == netip.IPv6Unspecified():
		return dual, nil
	case a == netip.IPv6Loopback():
		return private6, nil
	case a.IsValid() && a == n.Addr6:
		return public6, nil
	case a.IsLinkLocalUnicast() && a.Is6() && want.Scope == 0, a.IsMulticast() && a.Is6():
		return 0, errLeftToKernel // EINVAL, ipv6(7)
	case a.IsLinkLocalUnicast() && a.Is6() && !n.hasLink(want.Scope):
		return 0, unix.ENODEV
	}
	switch a := want.Addr.Addr().Unmap(); {
	case a.Is4() && a.IsUnspecified():
		return wildcard, nil
	case a == n.Addr:
		return public, nil
	case a == localhost4:
		return private, nil
	case mayBeForeign(fd, a):
		return 0, errLeftToKernel // nobody is there
	}
	return 0, unix.EADDRNOTAVAIL
}

// bindAlias binds to an alias, or to another port of it if the host refuses the
// one that the program wants.
func (n *Node) bindAlias(b binding, want netip.AddrPort) error {
	if _, ok := b.ports.movedTo(want); ok {
		return b.bindMoved(want)
	}
	err := b.bindTo(want)
	switch {
	case err == nil:
		b.ports.forget(want)
		return nil
	case errors.Is(err, unix.EACCES): // ip_unprivileged_port_start, ip(7)
		return b.bindMoved(want)
	case !errors.Is(err, unix.EADDRINUSE):
		return err
	}
	switch host, unknown := n.takenByHost(b.typ, want.Port()); {
	case unknown != nil:
		return unknown
	case !host:
		return err
	}
	return b.bindMoved(want)
}

// bindMoved binds to an ephemeral port of the alias that serves as the one that
// the program wants. Sockets with SO_REUSEPORT share it.
func (b binding) bindMoved(want netip.AddrPort) error {
	if kernel, ok := b.ports.movedTo(want); ok {
		err := b.bindTo(kernel)
		if err == nil || errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EINVAL) {
			return err
		}
	}
	if err := b.bindTo(netip.AddrPortFrom(want.Addr(), 0)); err != nil {
		return err
	}
	local, _, err := b.localName()
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	b.ports.move(want, unmapped(local.Addr))
	return nil
}

// taken reports whether a socket with b's SO_REUSEADDR and SO_REUSEPORT could
// not be bound to an alias and port. The kernel judges by trying.
func (n *Node) taken(b binding, want netip.AddrPort) (bool, error) {
	if kernel, ok := b.ports.movedTo(want); ok {
		want = kernel
	}
	err := probe(b.typ, b.fd, want)
	if !errors.Is(err, unix.EADDRINUSE) {
		return false, ignoreOthers(err)
	}
	host, err := n.takenByHost(b.typ, want.Port())
	return !host, err
}

// inUse is the errno of a bind that another socket, or this one, stands in the way of. An
// error says that this is not known, and stays.
func (b binding) inUse(err error) error {
	if err != nil {
		return err
	}
	if local, _, err := b.localName(); err == nil && local.Addr.Port() != 0 {
		return unix.EINVAL
	}
	return unix.EADDRINUSE
}

// takenByOwn reports whether a program's UDP socket that has a port of the host's own, on
// all addresses, keeps b from an address (bindHost). That port is not the host's for the
// node.
func (n *Node) takenByOwn(b binding, want abi.Sockaddr, only bool) (bool, error) {
	if b.typ != unix.SOCK_DGRAM {
		return false, nil
	}
	a := unmapped(want.Addr)
	taken, err := n.heldByOwn(b.fd, wildcardOf(a.Addr()), a)
	if err == nil && !taken && a.Addr() == netip.IPv6Unspecified() && !only {
		return n.heldByOwn(b.fd, netip.IPv4Unspecified(), a)
	}
	return taken, err
}

// heldByOwn is takenByOwn for a socket that serves the family of a wildcard.
func (n *Node) heldByOwn(fd int, any netip.Addr, want netip.AddrPort) (bool, error) {
	kernel, ok := n.flows.boundAt(any, want.Port())
	if !ok || !n.stillThere(kernel) {
		return false, nil
	}
	// where only a wildcard can be
	everywhere := netip.AddrPortFrom(n.Aliases.of(unused), want.Port())
	err := probe(unix.SOCK_DGRAM, fd, everywhere)
	if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, errNoProbe) {
		return true, ignoreOthers(err)
	}
	if err = probe(unix.SOCK_DGRAM, fd, kernel); !errors.Is(err, unix.EADDRINUSE) {
		return false, ignoreOthers(err)
	}
	// It is connected, and has one address.
	if peer, ok := n.flows.connectedTo(kernel); ok {
		return want.Addr().IsUnspecified() || want.Addr() == n.addrFor(peer.Addr()), nil
	}
	return want.Addr().IsUnspecified() || want.Addr().IsLoopback(), nil
}

// hasPort reports whether the socket has a port.
func hasPort(fd int) bool {
	local, _, err := localName(fd)
	return err == nil && local.Addr.Port() != 0
}

// takenByHost reports whether a socket of the host has the port on every address: then it
// has an alias, too, that nothing of the node is ever bound to.
func (n *Node) takenByHost(typ int, port uint16) (bool, error) {
	err := probe(typ, -1, netip.AddrPortFrom(n.Aliases.of(unused), port))
	return errors.Is(err, unix.EADDRINUSE), ignoreOthers(err)
}

// errNoProbe says that boxer cannot try to bind, for lack of descriptors, say: nothing is
// known about the port.
var errNoProbe = errors.New("no socket to try with")

// ignoreOthers returns err if nothing is known about a port, and nil otherwise.
func ignoreOthers(err error) error {
	if errors.Is(err, errNoProbe) {
		return err
	}
	return nil
}

// probe tries to bind a socket of its own to addr, of the given type, with the
// reuse options of like, or with none if like is negative. It fails with errNoProbe if
// it has none.
func probe(typ, like int, addr netip.AddrPort) error {
	fd, err := linux.Socket(unix.AF_INET, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("%w: %w", errNoProbe, err)
	}
	if like >= 0 {
		for _, opt := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
			if v, err := linux.GetsockoptInt(like, unix.SOL_SOCKET, opt); err == nil && v != 0 {
				linux.SetsockoptInt(fd, unix.SOL_SOCKET, opt, v)
			}
		}
	}
	if typ == unix.SOCK_DGRAM {
		// A kernel that does not let us do so, before Linux 5.7, loses what comes now.
		linux.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, noInterface)
	}
	probes.Lock()
	defer probes.Unlock()
	defer linux.Close(fd) // at once: nobody else is to see the address taken
	return bindUnlocked(fd, unix.AF_INET, addr)
}

// noInterface is the index of no interface. A socket that is bound to it has its port and
// gets no datagram: what a program sends to a port that is closed is refused also while
// the port is probed.
const noInterface = 1<<31 - 1

// probes is held while a probe has an address, and for reading by who binds a program's
// socket or asks the kernel whose an address is. Calls are answered on one goroutine, and
// the kernel tells of closed sockets on another one. A probe of the one would otherwise
// be a socket of somebody else's to the other, or one that is still there.
var probes sync.RWMutex

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
		if err := n.bindTo(binding{s, &n.ports}, anyAddress(s.domain)); err != nil {
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
	n.register(&n.ports, s, local)
	return nil
}

// register remembers where the program's socket with the kernel address local
// is to be found.
func (n *Node) register(p *ports, s *progSocket, local abi.Sockaddr) {
	kernel, ok := n.reachedAt(s.fd, local)
	if !ok {
		return
	}
	program := unmapped(n.localIn(p, local, abi.Sockaddr{}).Addr)
	n.listenFor(p, s, program, kernel, kernel != unmapped(local.Addr))
	if kernel.Addr() == n.Aliases.Dual {
		four := netip.AddrPortFrom(netip.IPv4Unspecified(), program.Port())
		n.listenFor(p, s, four, kernel, kernel != unmapped(local.Addr))
	}
	if p == &n.ports {
		n.announce(program, kernel)
	}
}

// listenFor notes that a socket is the node's at a kernel address for what the
// program knows as another. foreign says that it was made outside of the node.
func (n *Node) listenFor(p *ports, s *progSocket, program, kernel netip.AddrPort,
	foreign bool) {
	if p != &n.ports && n.udpSockets.isDeaf() { // nobody would tell of its end
		p.listen(program, kernel)
		return
	}
	if id, err := s.cookie(); err == nil {
		p.listenOn(program, kernel, id, foreign)
	}
}
