package syscalls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// Accept connects to the node's listener at dst, an address of the node, on behalf of
// src, which has the same family. Programs see src as the peer. If they listen only over
// IPv4, an IPv6 connection is translated, see family.go. Accept fails with ECONNREFUSED
// if there is no listener. It waits while the backlog is full, or while the peer uses its
// share of descriptors. The caller relays with the returned function, which owns the
// connection, or calls abort.
func (n *Node) Accept(ctx context.Context, src, dst netip.AddrPort) (run func(Stream),
	abort func(), err error) {
	for {
		at := spot{src.Addr(), dst}
		give, err := n.budget.take(ctx, at)
		if err != nil {
			return nil, nil, err
		}
		conn, remove, err := n.dialFirst(ctx, src, dst, nil)
		if Errno(err) == unix.EMFILE && n.budget.short(at) {
			continue
		}
		if err != nil {
			give()
			return nil, nil, err
		}
		run = func(s Stream) {
			n.relays.Add(1)
			defer give()
			defer remove()
			n.relay(conn, s)
		}
		abort = func() {
			defer give()
			defer remove()
			conn.SetLinger(0)
			conn.Close()
		}
		return run, abort, nil
	}
}

// dialFirst connects to the first listener at dst that accepts the connection. If o is
// not nil, the connection stands for it.
func (n *Node) dialFirst(ctx context.Context, src, dst netip.AddrPort,
	o *directOffer) (conn *loopConn, remove func(), err error) {
	found, src, dst, err := n.acceptors(src, dst)
	if err != nil {
		return nil, nil, fmt.Errorf("look for the listener at %v: %w", dst, err)
	}
	for _, l := range found {
		if conn, remove, err = n.dialListener(ctx, l.kernel,
			src, dst.Addr(), o); Errno(err) != unix.ECONNREFUSED {
			return conn, remove, err
		}
	}
	return nil, nil, unix.ECONNREFUSED
}

// AcceptIngress is Accept for a client outside of the network. It tries both addresses of
// the node. If the program accepts only the other family than src's, it sees the
// network's gateway as the peer, as from a proxy there.
func (n *Node) AcceptIngress(ctx context.Context, src netip.AddrPort,
	port uint16) (run func(Stream), abort func(), err error) {
	src = unmapped(src)
	other := n.host().Gateway6()
	if src.Addr().Is6() {
		other = n.host().Gateway()
	}
	for _, from := range [...]netip.AddrPort{src, netip.AddrPortFrom(other, src.Port())} {
		to := n.addrFor(from.Addr())
		if !to.IsValid() {
			continue // the network has no IPv6
		}
		run, abort, err = n.Accept(ctx, from, netip.AddrPortFrom(to, port))
		if Errno(err) != unix.ECONNREFUSED {
			return run, abort, err
		}
	}
	return nil, nil, err
}

// dialListener connects to a listener at a kernel address. Until remove is called, the
// program sees src as the peer, and at as its own address. On loopback the handshake ends
// within connect(2); only a full backlog delays it.
func (n *Node) dialListener(ctx context.Context, kernel, src netip.AddrPort,
	at netip.Addr, o *directOffer) (conn *loopConn, remove func(), err error) {
	fd, err := linux.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	own, err := n.bindRelay(fd, src.Addr(), kernel.Port())
	if err != nil {
		linux.Close(fd)
		return nil, nil, err
	}
	// The program may accept before connect returns, so the peer must be recorded first.
	peer := n.peers.addAccepted(own, src, at)
	remove = func() { n.peers.removeAccepted(own) }
	n.directs.offer(o, own, kernel)
	if err := n.connectWait(ctx, fd, kernel); err != nil {
		linux.Close(fd)
		remove()
		return nil, nil, fmt.Errorf("connect to listener at %v: %w", kernel, err)
	}
	if conn, err = newLoopConn(fd); err != nil {
		remove()
		return nil, nil, err
	}
	if n.takenOver(kernel) {
		conn.SetLinger(0)
		conn.Close()
		remove()
		return nil, nil, fmt.Errorf("the listener at %v has closed: %w", kernel,
			unix.ECONNREFUSED)
	}
	peer.urgency.attach(conn)
	return conn, remove, nil
}

// bindRelay binds the supervisor's end of a peer's connection to a listener's port. If
// all ports of the peer's address are in use, because the host's range of ephemeral ports
// is smaller than the peer's, it uses other addresses.
func (n *Node) bindRelay(fd int, peer netip.Addr, port uint16) (own netip.AddrPort,
	err error) {
	last := n.Aliases.Relay
	if peer.Is6() {
		last = n.Aliases.Relay6
	}
	for _, a := range [...]netip.Addr{n.relayFor(peer, port), n.relayFor(peer, 0), last} {
		own, err = bindAny(fd, a)
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return own, err
}

// relayFor returns the loopback address that represents a peer at a listener's port. Each
// pair has its own address, because an address has no more ports than the range of
// ephemeral ports.
func (n *Node) relayFor(peer netip.Addr, port uint16) netip.Addr {
	switch g := n.gates.to(peer); {
	case g != nil && g.addrs != nil:
		return g.addrs.of(netip.AddrPortFrom(peer, port))
	case peer.Is4():
		return n.Aliases.Relay
	}
	return n.Aliases.Relay6
}

// takenOver reports whether a socket outside of the node listens at a kernel address
// where the node's listener was a moment ago. The connection may then be with a service
// of the host. It returns false if the node's listener has closed after it accepted the
// connection.
func (n *Node) takenOver(kernel netip.AddrPort) bool {
	m, found, err := n.diag.Listener(kernel)
	return err == nil && found && !n.ports.owns(kernel, m.Cookie)
}

// connectWait connects a non-blocking socket, and waits for the outcome.
func (n *Node) connectWait(ctx context.Context, fd int, to netip.AddrPort) error {
	err := connectTo(fd, unix.AF_INET, to)
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	if ev, err := linux.Poll(fd, unix.POLLOUT); err != nil || ev == 0 {
		if err := n.readiness.wait(ctx, fd, unix.POLLOUT, unix.SO_SNDTIMEO); err != nil {
			return err
		}
	}
	return connectOutcome(fd)
}
