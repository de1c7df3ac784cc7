package syscalls

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// Datagrams carries UDP between nodes, without guarantees. Its methods do not block, and
// may drop what they cannot send at once.
type Datagrams interface {
	// SendDatagram sends b, at most 65,507 bytes, from src to dst, both virtual
	// addresses, with the fields of an IP header. It returns false if no node has dst's
	// address.
	SendDatagram(src, dst netip.AddrPort, ip stream.IPFields, b []byte) bool
	// SendUnreachable tells src that no socket has dst, a port of this node (ICMP port
	// unreachable, RFC 792). quote has the first bytes of the datagram.
	SendUnreachable(src, dst netip.AddrPort, quote []byte)
	// SendEcho sends an ICMP echo request, at most 65,507 bytes. The port of src is its
	// identifier; the reply comes to DeliverEcho. It returns false if no node has dst's
	// address.
	SendEcho(src, dst netip.AddrPort, ip stream.IPFields, msg []byte) bool
}

// udp is the UDP part of a node: its programs' sockets, their addresses, and the far
// endpoints. The kernel knows which socket has an address and which has closed: see
// udpSockets.
type udp struct {
	*core
	ports        ports // where programs have bound sockets
	flows        flows // far endpoints
	clients      udpClients
	pings        pings
	unreachables unreachableErrors
	sockets      udpSockets
	partial      atomic.Bool // a program has sent a part of a datagram (MSG_MORE)
	uncut        atomic.Bool // a program has a socket that forbids fragments

	watcher *linux.DestroyWatcher // nil: the kernel does not report the end of sockets
}

// maxDatagram is the largest UDP payload over IPv4, in bytes.
const maxDatagram = 65507

var datagramBuffers = sync.Pool{New: func() any { return new([maxDatagram + 1]byte) }}

// sendOut forwards a program's datagram to a flow's endpoint, or handles err, an error of
// the flow's socket.
func (u *udp) sendOut(fl *flow, from netip.AddrPort, ip stream.IPFields, b []byte,
	err error) {
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		u.programGone(fl)
	case err != nil:
		u.Logger.Debug("flow", "peer", fl.peer, "err", err)
	case !u.sentBy(from, fl):
		u.Logger.Debug("a stranger's datagram is dropped", "from", from, "for", fl.peer)
	case fl.peer.Port() == 0:
		u.sendEcho(from, fl.peer, ip, b)
	case !u.inNetwork(fl.peer.Addr()):
		if !u.answerOwn(fl, from, b) {
			u.sendEgress(from, fl.peer, ip, b)
		}
	default:
		src, dst := u.onTheWire(fl, u.datagramSender(fl.peer.Addr(), from))
		u.carry(src, dst, ip, b)
	}
}

// carry sends a datagram to its destination, which may be this node.
func (u *udp) carry(src, dst netip.AddrPort, ip stream.IPFields, b []byte) {
	if u.Owns(dst.Addr()) {
		if !u.deliver(src, dst, ip, b) {
			u.unreachable(dst, src, b)
		}
		return
	}
	if !u.Datagrams.SendDatagram(src, dst, ip, b) {
		u.sendUnreachable(src, dst, b)
	}
}

// datagramSender returns the source address of a program's UDP socket as a peer sees it,
// and records it, because answers go to that address.
func (u *udp) datagramSender(peer netip.Addr, kernel netip.AddrPort) netip.AddrPort {
	if kernel.Addr() == localhost4 { // not at an alias: see flows.bound
		u.flows.bind(wildcardOf(peer), kernel)
	}
	return netip.AddrPortFrom(u.addrFor(peer), u.ports.programPort(kernel))
}

// bind records a socket that has a port of the host and serves a family.
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

// deliver is Node.DeliverDatagram.
func (u *udp) deliver(src, dst netip.AddrPort, ip stream.IPFields, b []byte) bool {
	if !u.Owns(dst.Addr()) {
		return false
	}
	if u.deliverAs(src, dst, ip, b, false) {
		return true
	}
	src, dst, ok := u.toIPv4(src, dst)
	return ok && u.deliverAs(src, dst, ip, b, true)
}

// deliverAs is deliver for one family. translated says that the datagram came over
// IPv6.
func (u *udp) deliverAs(src, dst netip.AddrPort, ip stream.IPFields, b []byte,
	translated bool) bool {
	var room [3]netip.AddrPort
	at := u.datagramReceivers(room[:0], dst)
	if len(at) == 0 {
		return false
	}
	fl, err := u.flowTo(src, holder{})
	if err != nil {
		u.Logger.Debug("deliver datagram", "src", src, "dst", dst, "err", err)
		return true // dropped, as UDP may
	}
	for _, kernel := range at {
		if u.takes(fl, kernel) {
			fl.translated.Store(translated)
			u.hand(fl, kernel, ip, b)
			return true
		}
	}
	return false
}

// hand delivers a datagram of the flow's endpoint to a program's socket. If the socket's
// buffer is full, the datagram is lost. takes has checked whose socket it is.
func (u *udp) hand(fl *flow, to netip.AddrPort, ip stream.IPFields, b []byte) {
	send := func(fd int) error {
		return unix.Sendto(fd, b, unix.MSG_DONTWAIT, kernelSockaddr(unix.AF_INET, to))
	}
	if control := ipControl(ip); control != nil {
		send = func(fd int) error {
			return unix.Sendmsg(fd, b, control, kernelSockaddr(unix.AF_INET, to),
				unix.MSG_DONTWAIT)
		}
	}
	// the call reports an error of an earlier datagram, and sends nothing
	if errors.Is(fl.control(send), unix.ECONNREFUSED) {
		u.programGone(fl)
		fl.control(send)
	}
}

// datagramRoute returns the kernel address to which datagrams for a destination go; ok is
// false if the kernel itself reaches the destination. by is the program's socket.
func (u *udp) datagramRoute(s *progSocket, by holder,
	dst netip.AddrPort) (kernel netip.AddrPort, ok bool, err error) {
	switch u.nameServerAt(dst, u.hasNameServer) {
	case hostNameServer:
		if kernel, ok = u.proxy(dst); ok {
			err = u.admit(s, by.tid)
		}
		return kernel, ok, err
	case otherNameServer:
		if err := routed(dst); err != nil {
			return netip.AddrPort{}, false, err
		}
		u.asks(s, by.tid)
		return u.throughFlow(s, dst, by)
	}
	switch a := dst.Addr(); {
	case u.inNetwork(a):
		if u.Datagrams == nil {
			return netip.AddrPort{}, false, unix.ENETUNREACH
		}
		if u.isBroadcast(a) && !mayBroadcast(s) {
			return netip.AddrPort{}, false, unix.EACCES
		}
		return u.throughFlow(s, dst, by)
	case a.IsMulticast(), a == broadcast4:
		// the network has no multicast and no broadcast, and no route to them
		return netip.AddrPort{}, false, unix.ENETUNREACH
	case a == localhost4, a == netip.IPv4Unspecified():
		kernel, ok = u.localDatagrams(dst.Port(), localhost4, netip.IPv4Unspecified())
		return kernel, ok, nil
	case a.Is4() && a.IsLoopback(): // 127.0.0.2, where sockets are bound in the kernel
		kernel, ok = u.localDatagrams(dst.Port(), netip.IPv4Unspecified())
		return kernel, ok, nil
	case a == netip.IPv6Loopback() || a == netip.IPv6Unspecified():
		kernel, ok = u.localDatagrams(dst.Port(), netip.IPv6Loopback(),
			netip.IPv6Unspecified())
		if !ok {
			kernel, ok = u.flows.boundAt(netip.IPv6Unspecified(), dst.Port())
			ok = ok && u.stillThere(kernel)
		}
		return kernel, ok, nil
	default:
		local, _, err := s.localName()
		if err != nil {
			return netip.AddrPort{}, false, err
		}
		switch local.Addr.Addr().Unmap() {
		case u.Aliases.Wildcard, u.Aliases.Public, u.Aliases.Dual, u.Aliases.Wildcard6,
			u.Aliases.Public6:
			return u.throughFlow(s, dst, by)
		}
	}
	return netip.AddrPort{}, false, nil
}

// throughFlow returns the flow for datagrams of a program's socket to dst.
func (u *udp) throughFlow(s *progSocket, dst netip.AddrPort,
	by holder) (kernel netip.AddrPort,
	ok bool, err error) {
	if err := u.showSender(s); err != nil {
		return netip.AddrPort{}, false, err
	}
	fl, err := u.flowTo(dst, by)
	if err != nil {
		return netip.AddrPort{}, false, err
	}
	return fl.local, true, nil
}
