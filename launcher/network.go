package launcher

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/trace"
	"github.com/boxer-sandbox/boxer/transport"
)

var (
	_ syscalls.Network   = network{}
	_ syscalls.Datagrams = network{}
)

// network implements syscalls.Network and syscalls.Datagrams by a member.
type network struct {
	m *member
	r *atomic.Pointer[recorder] // holds nil while the node is not traced
}

// Dial implements syscalls.Network.
func (n network) Dial(ctx context.Context, o syscalls.Opening) (syscalls.Stream, error) {
	h := headerOf(o)
	defer n.tryDirect(o.Destination) // for the next connection: there is a path by then
	r := n.r.Load()
	if r == nil {
		s, err := n.m.open(ctx, h)
		if err != nil {
			return nil, err
		}
		return n.m.inbounds.follow(s), nil
	}
	f := r.newConnTrace(newConnID(), trace.RoleConnect, "tcp",
		syscalls.Ends{Local: o.Source, Remote: o.Destination})
	h.Trace = uint64(f.id)
	stop := f.connecting()
	s, err := n.m.open(ctx, h)
	stop()
	if err != nil {
		f.fail(err)
		return nil, err
	}
	return f.traced(n.m.inbounds.follow(s)), nil
}

// headerOf returns the header of a stream that is opened for a program.
func headerOf(o syscalls.Opening) transport.Header {
	return transport.Header{Source: o.Source, Destination: o.Destination, IP: o.IP,
		MinTTL: o.MinTTL}
}

// DialOptimistic implements syscalls.Network.
func (n network) DialOptimistic(o syscalls.Opening) (syscalls.Stream, bool) {
	to, ok := n.m.client.ByAddr(o.Destination.Addr())
	if !ok || to.Asleep { // Dial waits for it, or fails
		return nil, false
	}
	h := headerOf(o)
	r := n.r.Load()
	if r != nil {
		h.Trace = uint64(newConnID())
	}
	s, ok := n.m.node.OpenOptimistic(to.ID, h)
	switch {
	case !ok:
		return nil, false
	case r == nil:
		return n.m.inbounds.follow(s), true
	}
	f := r.newConnTrace(trace.ConnID(h.Trace), trace.RoleConnect, "tcp",
		syscalls.Ends{Local: o.Source, Remote: o.Destination})
	return f.traced(n.m.inbounds.follow(s)), true
}

// Announce implements syscalls.Network.
func (n network) Announce(dst netip.AddrPort,
	credit int) {
	n.m.node.Announce(dst, credit)
}

// SameHost implements syscalls.Network.
func (n network) SameHost(addr netip.Addr) bool {
	// The kernel's connections between two programs cannot be reset when a policy
	// changes.
	if n.m.client.Restricted() {
		return false
	}
	peer, ok := n.m.client.ByAddr(addr)
	return ok && peer.Host != "" && peer.Host == n.m.client.Self().Host &&
		n.m.node.MayBeNeighbour(peer.ID)
}

// ResolveLocal implements syscalls.Network. The peer answers with the address as the
// stream's data.
func (n network) ResolveLocal(ctx context.Context, near, src netip.Addr,
	dst netip.AddrPort,
	socket uint64) (netip.AddrPort, error) {
	kernel, err := n.resolveLocal(ctx, near, src, dst, socket)
	if r := n.r.Load(); r != nil && err != nil && ctx.Err() == nil {
		ends := syscalls.Ends{Local: netip.AddrPortFrom(src, 0), Remote: dst}
		r.newConnTrace(newConnID(), trace.RoleConnect, "tcp", ends).fail(err)
	}
	return kernel, err
}

func (n network) resolveLocal(ctx context.Context, near, src netip.Addr,
	dst netip.AddrPort,
	socket uint64) (netip.AddrPort, error) {
	s, err := n.m.open(ctx, transport.Header{Source: netip.AddrPortFrom(src, 0),
		Destination: dst, HostAddr: near, Socket: socket})
	if err != nil {
		return netip.AddrPort{}, err
	}
	defer s.Close()
	stop := context.AfterFunc(ctx, s.Reset)
	defer stop()
	b, err := io.ReadAll(io.LimitReader(s, maxLocation))
	if err != nil {
		return netip.AddrPort{}, err
	}
	var kernel netip.AddrPort
	if err := kernel.UnmarshalBinary(b); err != nil {
		return netip.AddrPort{}, fmt.Errorf("locate %v: malformed answer: %w", dst,
			unix.EHOSTUNREACH)
	}
	if err := n.m.isAt(ctx, s.Peer(), kernel.Addr()); err != nil {
		return netip.AddrPort{}, fmt.Errorf("locate %v: %w: %w", dst, err,
			unix.EHOSTUNREACH)
	}
	return kernel, nil
}

// isAt fails unless a loopback address of this host belongs to the peer's node. Another
// process may listen at any other address, and programs would connect to it.
func (m *member) isAt(ctx context.Context, peer uint32, addr netip.Addr) error {
	claim, err := m.node.Neighbour(ctx, peer)
	if err != nil {
		return err
	}
	if !syscalls.InBlock(claim, addr) {
		m.log.Warn("a neighbour has named an address that is not its own", "peer", peer,
			"address", addr)
		return fmt.Errorf("%v is not an address of node %d: %w", addr, peer,
			transport.ErrNotNeighbour)
	}
	return nil
}

// maxLocation bounds the binary form of a netip.AddrPort, in bytes.
const maxLocation = 64

// resolveLocal tells a node on the same host at which kernel address a listener is, so
// that its program can connect there by itself.
func resolveLocal(node *syscalls.Node, n network, s *transport.Stream) {
	h := s.Header()
	if err := n.m.isAt(context.Background(), s.Peer(), h.HostAddr); err != nil {
		node.Logger.Debug("locate", "peer", s.Peer(), "err", err)
		s.Answer(transport.StatusForbidden)
		return
	}
	kernel, err := node.ResolveLocal(h.HostAddr, h.Source.Addr(), h.Destination, h.Socket)
	if err != nil {
		s.Answer(statusOf(syscalls.Errno(err)))
		return
	}
	b, err := kernel.MarshalBinary()
	if err != nil {
		s.Answer(transport.StatusUnreachable)
		return
	}
	if s.Answer(transport.StatusOK) == nil {
		s.Write(b)
		s.Close()
	}
}

// SendDatagram implements syscalls.Datagrams.
func (n network) SendDatagram(src, dst netip.AddrPort, ip stream.IPFields,
	b []byte) bool {
	if r := n.r.Load(); r != nil {
		r.datagram(syscalls.Ends{Local: src, Remote: dst}, b, false)
	}
	n.m.guard.noteSent(src, dst)
	return n.send(dst.Addr(), transport.Datagram{Source: src, Destination: dst,
		Kind: transport.DatagramUDP, IP: ip, Payload: b})
}

// SendUnreachable implements syscalls.Datagrams.
func (n network) SendUnreachable(src, dst netip.AddrPort, quote []byte) {
	quote = quote[:min(len(quote), transport.MaxQuote)]
	n.send(src.Addr(), transport.Datagram{Source: dst, Destination: src,
		Kind: transport.DatagramUnreachable, Payload: quote})
}

// SendEcho implements syscalls.Datagrams.
func (n network) SendEcho(src, dst netip.AddrPort, ip stream.IPFields, msg []byte) bool {
	return n.send(dst.Addr(), transport.Datagram{Source: src, Destination: dst,
		Kind: transport.DatagramEcho, IP: ip, Payload: msg})
}

// send sends a datagram. It drops a datagram that it cannot send, as a network does. It
// returns false if no node has the address.
func (n network) send(to netip.Addr, d transport.Datagram) bool {
	peer, ok := n.m.client.ByAddr(to)
	if !ok {
		return false
	}
	if err := n.m.node.SendDatagram(peer.ID, d); err != nil {
		n.m.log.Debug("datagram dropped", "to", to, "err", err)
	}
	return true
}

// deliverDatagram delivers a datagram from another node to the program's socket. If no
// socket takes it, deliverDatagram tells the sender.
func deliverDatagram(node *syscalls.Node, n network, from uint32, d transport.Datagram) {
	if !n.ownsAddr(from, d.Source.Addr()) {
		return
	}
	if !n.m.guard.admitsDatagram(from, &d) {
		if d.Kind == transport.DatagramUDP {
			n.SendUnreachable(d.Source, d.Destination, d.Payload)
		}
		return
	}
	r := n.r.Load()
	ends := syscalls.Ends{Local: d.Destination, Remote: d.Source}
	switch d.Kind {
	case transport.DatagramUnreachable:
		if r != nil {
			r.refused(ends)
		}
		node.Unreachable(d.Source, d.Destination, d.Payload)
		return
	case transport.DatagramEcho:
		d.Source, d.Destination, d.Kind = d.Destination, d.Source,
			transport.DatagramEchoReply
		d.IP.TTL = 0 // icmp_reply in net/ipv4/icmp.c returns the TOS only
		if node.Owns(d.Source.Addr()) {
			n.send(d.Destination.Addr(), d)
		}
		return
	case transport.DatagramEchoReply:
		node.DeliverEcho(d.Source.Addr(), d.Destination, d.IP, d.Payload)
		return
	}
	if r != nil {
		r.datagram(ends, d.Payload, true)
	}
	if !node.DeliverDatagram(d.Source, d.Destination, d.IP, d.Payload) {
		n.SendUnreachable(d.Source, d.Destination, d.Payload)
	}
}

// ownsAddr reports whether an address belongs to a node. Packets of one node must not
// have another node's source address.
func (n network) ownsAddr(id uint32, addr netip.Addr) bool {
	peer, ok := n.m.client.ByAddr(addr)
	return ok && peer.ID == id
}

// acceptWithin bounds how long an incoming connection waits for room in a listener's
// backlog. Linux's clients give up after about that time (tcp(7), tcp_syn_retries).
const acceptWithin = 127 * time.Second

// accept connects to the listener that a stream is for. The timer ends when accept
// returns, so an idle connection wakes no thread.
func accept(node *syscalls.Node, s *transport.Stream) (*syscalls.Accepted, error) {
	ctx, cancel := context.WithTimeout(context.Background(), acceptWithin)
	defer cancel()
	defer s.OnStopSending(cancel)() // the far program has ended its connect
	h := s.Header()
	return node.Accept(ctx, syscalls.Opening{Source: h.Source,
		Destination: h.Destination, IP: h.IP, MinTTL: h.MinTTL})
}

// deliver connects an incoming stream to the program that listens, and relays data until
// the connection ends.
func deliver(node *syscalls.Node, n network, s *transport.Stream) {
	h := s.Header()
	if !n.ownsAddr(s.Peer(), h.Source.Addr()) || !node.Owns(h.Destination.Addr()) ||
		h.Source.Addr().Is4() != h.Destination.Addr().Is4() {
		s.Answer(transport.StatusUnreachable)
		return
	}
	if h.HostAddr.IsValid() {
		if n.SameHost(h.Source.Addr()) {
			resolveLocal(node, n, s)
		} else {
			s.Answer(transport.StatusForbidden)
		}
		return
	}
	if h.DirectPort != 0 && deliverDirect(node, n, s) {
		return
	}
	accepted, err := accept(node, s)
	if err != nil {
		node.Logger.Debug("accept", "from", h.Source, "port", h.Destination.Port(), "err", err)
		s.Answer(statusOf(syscalls.Errno(err)))
		return
	}
	s.SetIPFields(accepted.IP)
	if err := s.Answer(transport.StatusOK); err != nil {
		accepted.Abort()
		return
	}
	if s.LowCredit() {
		s.GrantCredit(node.Credit(h.Destination))
	}
	r := n.r.Load()
	if r == nil {
		accepted.Run(n.m.inbounds.follow(s))
		return
	}
	ends := syscalls.Ends{Local: h.Destination, Remote: h.Source}
	id := trace.ConnID(h.Trace)
	if id == 0 {
		id = derivedConnID(ends, s.ID())
	}
	accepted.Run(r.newConnTrace(id, trace.RoleAccept, "tcp",
		ends).traced(n.m.inbounds.follow(s)))
}
