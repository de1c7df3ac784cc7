package syscalls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// Accept connects to the node's listener at the destination, an address of the node, on
// behalf of the source, which programs see as the peer. If they listen only over IPv4, an
// IPv6 connection is translated, see family.go. Accept fails with ECONNREFUSED if there
// is no listener. It waits while the backlog is full, while the peer uses its share of
// descriptors, or if one side refuses the other one's TTL. The caller calls Run or Abort.
func (n *Node) Accept(ctx context.Context, o Opening) (*Accepted, error) {
	for {
		at := spot{o.Source.Addr(), o.Destination}
		give, err := n.budget.take(ctx, at)
		if err != nil {
			return nil, err
		}
		conn, remove, err := n.dialFirst(ctx, o, nil)
		if Errno(err) == unix.EMFILE && n.budget.short(at) {
			continue
		}
		if err != nil {
			give()
			return nil, err
		}
		return &Accepted{IP: conn.fields, node: n, conn: conn,
			end: func() { remove(); give() }}, nil
	}
}

// An Accepted is a connection that a listener of the node's programs has.
type Accepted struct {
	IP stream.IPFields // of the packets of the program's socket

	node *Node
	conn *loopConn
	end  func()
}

// Run relays between the connection, which it owns, and a stream, until both have ended.
func (a *Accepted) Run(s Stream) {
	a.node.relays.Add(1)
	defer a.end()
	if ip := a.conn.ip; ip != nil {
		ip.toProgram(s.OnIPFields(ip.toProgram))
		ip.attachFar(s)
	}
	a.node.relay(a.conn, s)
}

// Abort resets the connection.
func (a *Accepted) Abort() {
	defer a.end()
	a.conn.SetLinger(0)
	a.conn.Close()
}

// dialFirst connects to the first listener that accepts the connection. If d is not nil,
// the connection stands for it.
func (n *Node) dialFirst(ctx context.Context, o Opening, d *directOffer) (conn *loopConn,
	remove func(), err error) {
	found, src, dst, err := n.acceptors(o.Source, o.Destination)
	if err != nil {
		return nil, nil, fmt.Errorf("look for the listener at %v: %w", dst, err)
	}
	o.Source, o.Destination = src, dst
	for _, l := range found {
		if conn, remove, err = n.dialListener(ctx, l.kernel,
			o, d); Errno(err) != unix.ECONNREFUSED {
			return conn, remove, err
		}
	}
	return nil, nil, unix.ECONNREFUSED
}

// AcceptIngress is Accept for a client outside of the network. It tries both addresses of
// the node. If the program accepts only the other family than src's, it sees the
// network's gateway as the peer, as from a proxy there.
func (n *Node) AcceptIngress(ctx context.Context, src netip.AddrPort,
	port uint16) (a *Accepted, err error) {
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
		// How far the client is, is the host's business.
		a, err = n.Accept(ctx, Opening{Source: from,
			Destination: netip.AddrPortFrom(to, port), IP: stream.IPFields{TTL: 255}})
		if Errno(err) != unix.ECONNREFUSED {
			return a, err
		}
	}
	return nil, err
}

// dialListener connects to a listener at a kernel address. Until remove is called, the
// program sees the source as the peer, and the destination as its own address. On
// loopback the handshake ends within connect(2); only a full backlog delays it, or a TTL
// that one side refuses.
func (n *Node) dialListener(ctx context.Context, kernel netip.AddrPort, o Opening,
	d *directOffer) (conn *loopConn, remove func(), err error) {
	own := n.listenerFields(kernel)
	if own.HopLimit() < int(o.MinTTL) { // the opener drops the listener's SYN ACK
		<-ctx.Done()
		return nil, nil, unix.ETIMEDOUT
	}
	fd, err := linux.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("socket: %w", err)
	}
	setIPFields(fd, o.IP, stream.IPFields{})
	relay, err := n.bindRelay(fd, o.Source.Addr(), kernel.Port())
	if err != nil {
		linux.Close(fd)
		return nil, nil, err
	}
	// The program may accept before connect returns, so the peer must be recorded first.
	peer := n.peers.addAccepted(relay, o.Source, o.Destination.Addr())
	remove = func() { n.peers.removeAccepted(relay) }
	if !n.directs.offer(d, relay, kernel, o) {
		linux.Close(fd)
		remove()
		return nil, nil, errOfferTaken
	}
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
	conn.fields, conn.ip = own, &peer.ip
	peer.ip.attachConn(conn, o.IP)
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
