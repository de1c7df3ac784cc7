package syscalls

import (
	"errors"
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// A Datagrams carries UDP between nodes, as reliably as UDP is. Its methods
// may drop what they cannot send at once; neither waits.
type Datagrams interface {
	// SendDatagram sends b, at most 65,507 bytes, from src to dst, both virtual.
	// It returns false if nobody has the address of dst.
	SendDatagram(src, dst netip.AddrPort, b []byte) bool
	// SendUnreachable tells src that nobody has dst, a port of this node (ICMP
	// port unreachable, RFC 792). quote is how the datagram for it began.
	SendUnreachable(src, dst netip.AddrPort, quote []byte)
	// SendEcho sends an ICMP echo request, at most 65,507 bytes. The port of src
	// is its identifier; the answer comes to DeliverEcho.
	// It returns false if nobody has the address of dst.
	SendEcho(src, dst netip.AddrPort, msg []byte) bool
}

// maxDatagram is the largest UDP payload over IPv4, in bytes.
const maxDatagram = 65507

var datagramBuffers = sync.Pool{New: func() any { return new([maxDatagram + 1]byte) }}

// fromProgram carries what a program has sent to a flow's endpoint, or deals with err,
// which the flow's socket has in its place.
func (n *Node) sendOut(fl *flow, from netip.AddrPort, b []byte, err error) {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		n.programGone(fl)
	case err != nil:
		n.Logger.Debug("flow", "peer", fl.peer, "err", err)
	case !n.sentBy(from, fl):
		n.Logger.Debug("a stranger's datagram is dropped", "from", from, "for", fl.peer)
	case fl.peer.Port() == 0:
		n.sendEcho(from, fl.peer, b)
	case !n.inNetwork(fl.peer.Addr()):
		if !n.answerOwn(fl, from, b) {
			n.sendEgress(from, fl.peer, b)
		}
	default:
		src, dst := n.onTheWire(fl, n.datagramSender(fl.peer.Addr(), from))
		n.carry(src, dst, b)
	}
}

// carry sends a datagram to its destination, which may be this very node.
func (n *Node) carry(src, dst netip.AddrPort, b []byte) {
	if n.Owns(dst.Addr()) {
		if !n.DeliverDatagram(src, dst, b) {
			n.Unreachable(dst, src, b)
		}
		return
	}
	if !n.Datagrams.SendDatagram(src, dst, b) {
		n.sendUnreachable(src, dst, b)
	}
}

// datagramSender returns the address that a peer sees of a program's UDP socket. The node
// remembers it: answers will come to it.
func (n *Node) datagramSender(peer netip.Addr, kernel netip.AddrPort) netip.AddrPort {
	if kernel.Addr() == localhost4 { // not at an alias: see flows.bound
		n.flows.bind(wildcardOf(peer), kernel)
	}
	return netip.AddrPortFrom(n.addrFor(peer), n.datagramPorts.programPort(kernel))
}

// bind remembers a socket that has a port of the host's own, and serves a family.
func (f *flows) bind(any netip.Addr, kernel netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bound == nil {
		f.bound = make(map[netip.AddrPort]netip.AddrPort)
	}
	f.bound[netip.AddrPortFrom(any, kernel.Port())] = kernel
}

func (f *flows) unbind(kernel netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.bound, netip.AddrPortFrom(netip.IPv4Unspecified(), kernel.Port()))
	delete(f.bound, netip.AddrPortFrom(netip.IPv6Unspecified(), kernel.Port()))
}

func (f *flows) boundAt(any netip.Addr, port uint16) (netip.AddrPort, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, ok := f.bound[netip.AddrPortFrom(any, port)]
	return a, ok
}

// DeliverDatagram gives a datagram from another node to the program that has
// dst's port. It returns false if nobody has: the sender is to be told.
func (n *Node) DeliverDatagram(src, dst netip.AddrPort, b []byte) bool {
	if !n.Owns(dst.Addr()) {
		return false
	}
	if n.deliver(src, dst, b, false) {
		return true
	}
	src, dst, ok := n.toIPv4(src, dst)
	return ok && n.deliver(src, dst, b, true)
}

// deliver is DeliverDatagram for one family. translated says that the datagram came over
// IPv6.
func (n *Node) deliver(src, dst netip.AddrPort, b []byte, translated bool) bool {
	var room [3]netip.AddrPort
	at := n.datagramReceivers(room[:0], dst)
	if len(at) == 0 {
		return false
	}
	fl, err := n.flowTo(src, holder{})
	if err != nil {
		n.Logger.Debug("deliver datagram", "src", src, "dst", dst, "err", err)
		return true // dropped, as UDP may
	}
	for _, kernel := range at {
		if n.takes(fl, kernel) {
			fl.translated.Store(translated)
			n.hand(fl, kernel, b)
			return true
		}
	}
	return false
}

// hand gives a program's socket a datagram of the flow's endpoint. If its buffer is full,
// that is lost. See takes, which looks whose the socket is.
func (n *Node) hand(fl *flow, to netip.AddrPort, b []byte) {
	send := func(fd int) error {
		return unix.Sendto(fd, b, unix.MSG_DONTWAIT, kernelSockaddr(unix.AF_INET, to))
	}
	if errors.Is(fl.control(send), unix.ECONNREFUSED) { // it tells of an earlier one, and sends nothing
		n.programGone(fl)
		fl.control(send)
	}
}

// datagramRoute returns the kernel address to which datagrams for a
// destination go; ok is false where the kernel's own way is right. They are
// of by's socket, of which fd is a copy.
func (n *Node) datagramRoute(fd int, by holder,
	dst netip.AddrPort) (kernel netip.AddrPort, ok bool, err error) {
	switch n.nameServerAt(dst, &n.datagramPorts) {
	case hostNameServer:
		if kernel, ok = n.proxy(dst); ok {
			err = n.admit(fd, by.tid)
		}
		return kernel, ok, err
	case otherNameServer:
		if err := routed(dst); err != nil {
			return netip.AddrPort{}, false, err
		}
		n.asks(fd, by.tid)
		return n.throughFlow(fd, dst, by)
	}
	switch a := dst.Addr(); {
	case n.inNetwork(a):
		if n.Datagrams == nil {
			return netip.AddrPort{}, false, unix.ENETUNREACH
		}
		if n.isBroadcast(a) && !mayBroadcast(fd) {
			return netip.AddrPort{}, false, unix.EACCES
		}
		return n.throughFlow(fd, dst, by)
	case a.IsMulticast(), a == broadcast4:
		// the network has neither, and no route to them
		return netip.AddrPort{}, false, unix.ENETUNREACH
	case a.Is4() && (a.IsLoopback() || a.IsUnspecified()):
		kernel, ok = n.localDatagrams(dst.Port(), localhost4, netip.IPv4Unspecified())
		return kernel, ok, nil
	case a == netip.IPv6Loopback() || a == netip.IPv6Unspecified():
		kernel, ok = n.localDatagrams(dst.Port(), netip.IPv6Loopback(),
			netip.IPv6Unspecified())
		if !ok {
			kernel, ok = n.flows.boundAt(netip.IPv6Unspecified(), dst.Port())
			ok = ok && n.stillThere(kernel)
		}
		return kernel, ok, nil
	default:
		local, _, err := localName(fd)
		if err != nil {
			return netip.AddrPort{}, false, err
		}
		switch local.Addr.Addr().Unmap() {
		case n.Aliases.Wildcard, n.Aliases.Public, n.Aliases.Dual, n.Aliases.Wildcard6,
			n.Aliases.Public6:
			return n.throughFlow(fd, dst, by)
		}
	}
	return netip.AddrPort{}, false, nil
}

// throughFlow is the flow for what a program's socket, of which fd is a copy, sends to
// dst.
func (n *Node) throughFlow(fd int, dst netip.AddrPort, by holder) (kernel netip.AddrPort,
	ok bool, err error) {
	if err := n.showSender(fd); err != nil {
		return netip.AddrPort{}, false, err
	}
	fl, err := n.flowTo(dst, by)
	if err != nil {
		return netip.AddrPort{}, false, err
	}
	return fl.local, true, nil
}

// datagramSource returns the address that a program sees for the kernel address
// that a datagram came from.
func (n *Node) datagramSource(from abi.Sockaddr) abi.Sockaddr { return n.datagramName(from, false) }

// datagramName is datagramSource also for an address that a program has sent to, at which
// there may be nobody.
func (n *Node) datagramName(from abi.Sockaddr, sentTo bool) abi.Sockaddr {
	kernel := unmapped(from.Addr)
	if peer, ok := n.flows.peerOf(kernel); ok {
		from.Addr = peer
		return from
	}
	if server, ok := n.dns.server(kernel); ok {
		from.Addr = server
		return from
	}
	addr := kernel.Addr()
	if r, ok := n.Aliases.role(addr); ok {
		if !sentTo && !n.isPrograms(kernel) {
			return from // a stranger, who is at one of the node's aliases
		}
		addr = n.own(r)
	} else if addr != localhost4 {
		return from
	}
	switch recorded, ok := n.datagramPorts.recordedPeer(kernel, kernel); {
	case ok:
		addr = recorded
	case addr == netip.IPv4Unspecified(), addr == netip.IPv6Unspecified() &&
		kernel.Addr() == n.Aliases.Dual:
		addr = localhost4
	case addr == netip.IPv6Unspecified():
		addr = netip.IPv6Loopback()
	}
	from.Addr = netip.AddrPortFrom(addr, n.datagramPorts.programPort(kernel))
	return from
}
