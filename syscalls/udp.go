package syscalls

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

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

// flows are the node's UDP peers. A flow is one far endpoint, a virtual address
// and port, as a loopback socket of the supervisor's: what a program sends
// there goes to the endpoint, and what the endpoint sends comes from there. So
// a program's connected sockets work with no call trapped, and poll(2), queues
// and SO_RCVTIMEO are the kernel's own.
type flows struct {
	mu      sync.Mutex
	byPeer  map[netip.AddrPort]*flow // by the far endpoint
	byLocal map[netip.AddrPort]*flow // by the flow's loopback address
	closed  bool

	// bound has the programs' sockets that are not at an alias, by wildcard and port:
	// those that were bound to port 0, or never, have a port of the host's own.
	bound map[netip.AddrPort]netip.AddrPort

	outsides map[netip.AddrPort]*outside // by the program's socket, which is at an alias
}

type flow struct {
	peer  netip.AddrPort // virtual
	local netip.AddrPort // loopback
	conn  *net.UDPConn
	raw   syscall.RawConn

	// busy is set while the flow has a datagram that it has not carried on.
	busy atomic.Bool

	used    time.Time // by flows.mu
	holders []holder  // by flows.mu: who sent there lately, the last one last

	translated atomic.Bool // the endpoint's last datagram came over IPv6, see family.go

	absent bool // by flows.mu: the last refusal was for want of such a host

	refusing sync.Mutex // held while the flow refuses
}

// maxFlows bounds the far endpoints at a time; each costs a descriptor of the
// supervisor, which may have 1,024 of them. The one that was silent longest
// makes room.
const maxFlows = 256

// maxDatagram is the largest UDP payload over IPv4, in bytes.
const maxDatagram = 65507

var datagramBuffers = sync.Pool{New: func() any { return new([maxDatagram + 1]byte) }}

// flowTo returns the flow of a far endpoint, made if need be. by is the program
// that will send there, if it is one.
func (n *Node) flowTo(peer netip.AddrPort, by holder) (*flow, error) {
	f := &n.flows
	f.mu.Lock()
	defer f.mu.Unlock()
	if fl, ok := f.byPeer[peer]; ok {
		fl.used = time.Now()
		fl.heldLocked(by)
		return fl, nil
	}
	if f.closed {
		return nil, net.ErrClosed
	}
	if len(f.byPeer) >= maxFlows {
		f.dropOldestLocked()
	}
	alias := n.Aliases.Datagram
	if peer.Addr().Is6() {
		alias = n.Aliases.Datagram6
	}
	fl, err := openFlow(alias, peer)
	if err != nil {
		return nil, err
	}
	if f.byPeer == nil {
		f.byPeer = make(map[netip.AddrPort]*flow)
		f.byLocal = make(map[netip.AddrPort]*flow)
	}
	f.byPeer[peer] = fl
	f.byLocal[fl.local] = fl
	fl.heldLocked(by)
	n.tasks.Go(func() { n.sendOut(fl) })
	return fl, nil
}

func (f *flows) dropOldestLocked() {
	var oldest *flow
	for _, fl := range f.byPeer {
		if oldest == nil || fl.used.Before(oldest.used) {
			oldest = fl
		}
	}
	delete(f.byPeer, oldest.peer)
	delete(f.byLocal, oldest.local)
	oldest.conn.Close()
}

// peerOf returns the far endpoint that a loopback address stands for.
func (f *flows) peerOf(local netip.AddrPort) (netip.AddrPort, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl, ok := f.byLocal[local]
	if !ok {
		return netip.AddrPort{}, false
	}
	return fl.peer, true
}

// used reports whether there is, or was, any flow.
func (f *flows) used() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byPeer != nil
}

// isAbsent reports whether the endpoint that a loopback address stands for was
// refused for want of such a host.
func (f *flows) isAbsent(local netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl, ok := f.byLocal[local]
	return ok && fl.absent
}

// idle reports whether all that programs have sent has been carried on.
func (f *flows) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fl := range f.byPeer {
		queued := 0
		fl.control(func(fd int) (err error) {
			queued, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
			return err
		})
		if queued > 0 || fl.busy.Load() {
			return false
		}
	}
	return true
}

// close ends every flow; their goroutines end with them.
func (f *flows) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, fl := range f.byPeer {
		fl.conn.Close()
	}
	for _, o := range f.outsides {
		o.conn.Close()
	}
}

// bindFlowTries bounds the search for a free port. They are chosen at random
// from Linux's own ephemeral ports (ip_local_port_range, ip(7)), and a node has at
// most maxFlows.
const (
	bindFlowTries = 32
	firstFlowPort = 32768
	flowPorts     = 28232
)

// openFlow opens a flow's socket. Its port is chosen here and not by the kernel:
// only a port that was asked for survives refuse's disconnect (udp(7)). A port
// that was a flow's before is unlikely to be another's soon: a program may
// still have a socket that is connected to it.
func openFlow(addr netip.Addr, peer netip.AddrPort) (*flow, error) {
	var err error
	for range bindFlowTries {
		local := netip.AddrPortFrom(addr, uint16(firstFlowPort+rand.IntN(flowPorts)))
		var c *net.UDPConn
		if c, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(local)); err != nil {
			continue
		}
		fl := &flow{peer: peer, local: local, conn: c, used: time.Now()}
		if fl.raw, err = c.SyscallConn(); err == nil {
			err = fl.control(func(fd int) error { return setsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1) })
		}
		if err != nil {
			c.Close()
			return nil, fmt.Errorf("flow to %v: %w", peer, err)
		}
		return fl, nil
	}
	return nil, fmt.Errorf("flow to %v: %w", peer, err)
}

func (fl *flow) control(f func(fd int) error) error {
	var err error
	if e := fl.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// sendOut carries what programs send to the flow's endpoint, until the flow is
// closed.
func (n *Node) sendOut(fl *flow) {
	for {
		buf := datagramBuffers.Get().(*[maxDatagram + 1]byte)
		size, from, err := fl.receive(buf[:])
		switch {
		case err == nil && !n.sentBy(from, fl):
			n.Logger.Debug("a stranger's datagram is dropped", "from", from, "for", fl.peer)
		case err == nil && fl.peer.Port() == 0:
			n.sendEcho(from, fl.peer, buf[:size])
		case err == nil && !n.inNetwork(fl.peer.Addr()):
			if n.answerOwn(fl, from, buf[:size]) {
				break
			}
			n.sendOutside(from, fl.peer, buf[:size])
		case err == nil:
			src, dst := n.onTheWire(fl, n.datagramSender(fl.peer.Addr(), from))
			n.carry(src, dst, buf[:size])
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, unix.ECONNREFUSED):
			n.programGone(fl)
		default:
			n.Logger.Debug("flow", "peer", fl.peer, "err", err)
		}
		datagramBuffers.Put(buf)
	}
}

// receive waits for a datagram without holding a buffer that another flow could
// use; b is filled when there is one.
func (fl *flow) receive(b []byte) (size int, from netip.AddrPort, err error) {
	e := fl.raw.Read(func(fd uintptr) bool {
		var sa unix.Sockaddr
		fl.busy.Store(true)
		size, sa, err = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
		if err == unix.EAGAIN {
			fl.busy.Store(false)
			return false
		}
		if in4, ok := sa.(*unix.SockaddrInet4); ok {
			from = netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
		}
		return true
	})
	if e != nil {
		return 0, from, net.ErrClosed
	}
	return size, from, err
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
		n.absent(src, dst, b)
	}
}

// datagramSender returns the address that a peer sees of a program's UDP socket. The node remembers it: answers will come to it.
func (n *Node) datagramSender(peer netip.Addr, kernel netip.AddrPort) netip.AddrPort {
	if kernel.Addr() == localhost4 { // not at an alias: see flows.bound
		n.flows.bind(wildcardOf(peer), kernel)
	}
	return netip.AddrPortFrom(n.addrFor(peer), n.datagramPorts.known(kernel))
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
	to, ok := n.datagramReceiver(dst)
	translated := false
	if !ok {
		if src, dst, translated = n.toIPv4(src, dst); translated {
			to, ok = n.datagramReceiver(dst)
		}
	}
	if !ok {
		return false
	}
	fl, err := n.flowTo(src, holder{})
	if err != nil {
		n.Logger.Debug("deliver datagram", "src", src, "dst", dst, "err", err)
		return true // dropped, as UDP may
	}
	fl.translated.Store(translated)
	return n.deliver(fl, to, b)
}

// deliver gives a program's socket a datagram of the flow's endpoint. If its
// buffer is full, that is lost. See Node.deliver, which looks whose the socket is.
func (fl *flow) deliver(to netip.AddrPort, b []byte) {
	fl.control(func(fd int) error {
		return unix.Sendto(fd, b, unix.MSG_DONTWAIT, kernelSockaddr(unix.AF_INET, to))
	})
}

// disconnect dissolves a socket's association (connect(2), AF_UNSPEC).
func disconnect(fd int) error {
	unspec := unix.RawSockaddr{Family: unix.AF_UNSPEC}
	return rawConnect(fd, &unspec)
}

// datagramRoute returns the kernel address to which datagrams for a
// destination go; ok is false where the kernel's own way is right. They are
// of by's socket, of which fd is a copy.
func (n *Node) datagramRoute(fd int, by holder, dst netip.AddrPort) (kernel netip.AddrPort, ok bool, err error) {
	switch n.nameServerAt(dst, &n.datagramPorts) {
	case hostNameServer:
		if kernel, ok = n.proxy(dst); ok {
			err = n.admit(fd)
		}
		return kernel, ok, err
	case otherNameServer:
		if err := routed(dst); err != nil {
			return netip.AddrPort{}, false, err
		}
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
	case a.IsMulticast(), a == broadcast4: // the network has neither, and no route to them
		return netip.AddrPort{}, false, unix.ENETUNREACH
	case a.Is4() && (a.IsLoopback() || a.IsUnspecified()):
		kernel, ok = n.localDatagrams(dst.Port(), localhost4, netip.IPv4Unspecified())
		return kernel, ok, nil
	case a == netip.IPv6Loopback() || a == netip.IPv6Unspecified():
		kernel, ok = n.localDatagrams(dst.Port(), netip.IPv6Loopback(), netip.IPv6Unspecified())
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
		case n.Aliases.Wildcard, n.Aliases.Public, n.Aliases.Dual, n.Aliases.Wildcard6, n.Aliases.Public6:
			return n.throughFlow(fd, dst, by)
		}
	}
	return netip.AddrPort{}, false, nil
}

// throughFlow is the flow for what a program's socket, of which fd is a copy, sends to dst.
func (n *Node) throughFlow(fd int, dst netip.AddrPort, by holder) (kernel netip.AddrPort, ok bool, err error) {
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
func (n *Node) datagramSource(from Sockaddr) Sockaddr {
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
		if !n.isPrograms(kernel) {
			return from // a stranger, who is at one of the node's aliases
		}
		addr = n.own(r)
	} else if addr != localhost4 {
		return from
	}
	switch met, ok := n.datagramPorts.metSelf(kernel, kernel); {
	case ok:
		addr = met
	case addr == netip.IPv4Unspecified(), addr == netip.IPv6Unspecified() && kernel.Addr() == n.Aliases.Dual:
		addr = localhost4
	case addr == netip.IPv6Unspecified():
		addr = netip.IPv6Loopback()
	}
	from.Addr = netip.AddrPortFrom(addr, n.datagramPorts.known(kernel))
	return from
}
