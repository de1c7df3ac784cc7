package syscalls

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"
	"time"
	"unsafe"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// connect answers connect(2). What it does not redirect, the kernel does, and
// it says what is wrong with odd arguments, too.
func (n *Node) connect(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	r, keep := n.connectSocket(c, fd)
	if !keep {
		closeFD(fd)
	}
	return r
}

// connectSocket is connect on a copy of the program's socket. keep is true if
// something else closes the copy.
func (n *Node) connectSocket(c Call, fd int) (r reply, keep bool) {
	domain, typ, err := kind(fd)
	if err != nil {
		return letThrough, false // not a socket: Linux looks at the address first
	}
	if domain == unix.AF_NETLINK && n.isNetlink(fd) {
		return n.connectNetlink(c), false
	}
	if !isInet(domain) {
		return letThrough, false
	}
	dst, err := readSockaddr(c, c.Ptr(1), c.Int(2))
	if err == unix.EFAULT {
		return fail(err), false
	}
	if err != nil || !takes(fd, domain, typ, dst) {
		n.disconnects(c, fd)
		return letThrough, false // AF_UNSPEC disconnects; the rest is wrong
	}
	switch typ {
	case unix.SOCK_STREAM:
		if !inOwnNamespace(fd) {
			return letThrough, false
		}
		if err := n.permits(c, landlockConnect, dst.Addr.Port()); err != nil {
			return fail(err), false
		}
		nb, err := nonblocking(fd)
		if err != nil {
			return fail(err), false
		}
		return n.connectStream(c, fd, domain, !nb, dst)
	case unix.SOCK_DGRAM:
		if _, ok, err := isUDP(fd); err != nil || !ok {
			return letThrough, false
		}
		if err := n.checkFamily(fd, dst); err != nil {
			return fail(err), false
		}
		return n.connectDatagram(c, fd, domain, unmapped(dst.Addr)), false
	}
	return letThrough, false
}

// takes reports whether a socket can be connected to an address of that family. A
// datagram socket for IPv6 takes IPv4 addresses too (__ip6_datagram_connect in
// net/ipv6/datagram.c); glibc sorts addresses by such connects.
func takes(fd, domain, typ int, dst abi.Sockaddr) bool {
	if domain != unix.AF_INET6 || dst.Six {
		return dst.Six == (domain == unix.AF_INET6)
	}
	only, err := v6only(fd, domain)
	return typ == unix.SOCK_DGRAM && err == nil && !only
}

// connectStream connects a TCP socket. block is whether the call waits for the outcome.
func (n *Node) connectStream(c Call, fd, domain int, block bool, dst abi.Sockaddr) (reply, bool) {
	if err := n.checkFamily(fd, dst); err != nil {
		return fail(err), false
	}
	addr := unmapped(dst.Addr)
	switch n.nameServerAt(addr, &n.ports) {
	case hostNameServer:
		return n.connectResolver(c, fd, domain, block, addr)
	case otherNameServer:
		return n.connectNameServer(c, fd, domain, block, addr)
	}
	switch {
	case n.Owns(addr.Addr()):
		return n.connectSelf(fd, domain, block, addr)
	case n.inNetwork(addr.Addr()):
		return n.connectPeer(fd, domain, block, addr)
	case isLocalhost(addr.Addr()):
		return n.connectLocalhost(fd, domain, block, addr)
	}
	return n.connectEgress(fd, domain, block, addr)
}

// disconnects gives up what a socket is connecting to, if connect(2) has
// AF_UNSPEC for it.
func (n *Node) disconnects(c Call, fd int) {
	var family [2]byte
	if c.Int(2) < len(family) || c.ReadMemory(c.Ptr(1), family[:]) != nil ||
		binary.NativeEndian.Uint16(family[:]) != unix.AF_UNSPEC {
		return
	}
	if id, err := cookie(fd); err == nil {
		if at := n.attempts.find(id); at != nil {
			n.attempts.giveUp(at)
		}
	}
}

// checkFamily fails if an AF_INET6 socket can send nothing to an address, since it
// is an IPv6 one and the address is v4-mapped, or the reverse.
func (n *Node) checkFamily(fd int, to abi.Sockaddr) error {
	if !to.Six {
		return nil
	}
	dst := to.Addr.Addr()
	local, _, err := localName(fd)
	if err != nil {
		return err
	}
	r, bound := n.Aliases.role(local.Addr.Addr().Unmap())
	if !dst.Is4In6() {
		if bound && r&six == 0 && r != dual && !dst.IsUnspecified() {
			return unix.EAFNOSUPPORT // ip6_dst_lookup_tail in net/ipv6/ip6_output.c
		}
		return nil
	}
	only := bound && r&six != 0
	if !bound {
		if only, err = v6only(fd, unix.AF_INET6); err != nil {
			return err
		}
	}
	if only {
		return unix.ENETUNREACH // tcp_v6_connect in net/ipv6/tcp_ipv6.c
	}
	return nil
}

// isLocalhost reports whether a connect to the address stays on this host. Linux
// takes the wildcard for 127.0.0.1 and ::1.
func isLocalhost(a netip.Addr) bool {
	return a.IsLoopback() || a.IsUnspecified()
}

// connectPeer connects to another node.
func (n *Node) connectPeer(fd, domain int, block bool, dst netip.AddrPort) (reply, bool) {
	id, err := cookie(fd)
	if err != nil {
		return fail(err), false
	}
	at := n.attempts.find(id) // before the state: see attempts.fail
	state, err := tcpState(fd)
	if err != nil {
		return fail(err), false
	}
	switch {
	case state == tcpSynSent && block && at != nil:
		return n.waitFor(fd, id, at, unix.EALREADY)
	case state == tcpSynSent && block: // to a neighbour, whose backlog is full
		return n.finishLocal(fd, true, unix.EALREADY)
	case state != tcpClose:
		// The kernel knows: EALREADY, EISCONN, or 0 the first time.
		return fail(connectNow(fd, domain, n.gate.addr)), false
	}
	if errno, ok := n.attempts.takeError(id); ok {
		settle(fd)
		return fail(errno), false
	}
	local, _, err := localName(fd)
	if err != nil {
		return fail(err), false
	}
	if local.Addr.Port() != 0 && !n.Owns(unmapped(n.local(local,
		abi.Sockaddr{Addr: n.gateFor(dst.Addr()).addr}).Addr).Addr()) {
		return fail(unix.EINVAL), false // from localhost to another host
	}
	// To a neighbour, the alias of the dual wildcard does not tell the family.
	ambiguous := dst.Addr().Is6() && local.Addr.Addr().Unmap() == n.Aliases.Dual
	if n.Network.Near(dst.Addr()) && !ambiguous {
		return n.connectNear(fd, domain, block, dst)
	}
	return n.connectFar(fd, domain, block, dst)
}

// connectFar connects an unconnected socket to another node, over the network.
func (n *Node) connectFar(fd, domain int, block bool, dst netip.AddrPort) (reply, bool) {
	id, err := cookie(fd)
	if err != nil {
		return fail(err), false
	}
	gate := n.gateFor(dst.Addr()).towards(dst)
	err = n.connectFrom(fd, domain, n.publicFor(dst.Addr()),
		func() error { return connectNow(fd, domain, gate) })
	if err != unix.EINPROGRESS {
		return fail(fmt.Errorf("connect to gate: %w", err)), false
	}
	// Only now: after a failed connect the name of an earlier port is left, and
	// this connect has taken another.
	local, _, err := localName(fd)
	if err != nil {
		return fail(err), false
	}
	src := unmapped(n.local(local, abi.Sockaddr{Addr: gate}).Addr)
	socket := pending{id: id, program: unmapped(local.Addr), gate: gate, src: src,
		dst: dst}
	if r, ok := n.connectEarly(fd, block, socket); ok {
		return r, false
	}
	asking, at := n.attempts.start(n.ctx, id)
	a := dialling{at, socket}
	at.ends = Ends{Local: src, Remote: dst}
	if !block {
		n.tasks.Go(func() {
			defer n.watchClosed(a)()
			n.dial(asking, a)
		})
		r := fail(unix.EINPROGRESS)
		r.ends = at.ends
		return r, false
	}
	if tv, err := timeout(fd, unix.SO_SNDTIMEO); err != nil || tv.Nano() != 0 {
		n.tasks.Go(func() { n.dial(asking, a) })
		r, keep := n.waitFor(fd, id, at, unix.EINPROGRESS)
		r.ends = at.ends
		return r, keep
	}
	// Nothing but the outcome ends the wait: one goroutine does both. A signal
	// ends the call, and the attempt goes on.
	r := later(func(context.Context, Call) reply {
		defer closeFD(fd)
		n.dial(asking, a)
		return n.outcome(fd, id, at)
	})
	r.ends = at.ends
	return r, true
}

// A pending socket of a program waits at the gate: id is its cookie, program its kernel
// address, gate the address it connects to; src and dst are the two ends of the
// connection, both virtual.
type pending struct {
	id                      uint64
	program, gate, src, dst netip.AddrPort
}

func (p pending) ends() gated { return gated{p.program, p.gate} }

// A dialling is an attempt, and what it needs to run.
type dialling struct {
	*attempt
	pending
}

// dial runs an attempt: it asks the network for the connection, then lets the
// program's socket through the gate.
func (n *Node) dial(ctx context.Context, a dialling) {
	defer a.cancel()
	stream, err := n.open(ctx, a.pending)
	if err != nil {
		n.unreachable(a, err)
		return
	}
	if ctx.Err() != nil { // given up: the socket may be connecting to another
		stream.Reset()
		n.attempts.succeed(a.id, a.attempt)
		return
	}
	if err := n.establish(stream, a.pending); err == nil ||
		Errno(err) == unix.ECONNREFUSED { // the socket is closed, or connects no more: shutdown(2)
		n.attempts.succeed(a.id, a.attempt)
	} else {
		n.unreachable(a, err)
	}
}

// unreachable ends an attempt that has come to nothing.
func (n *Node) unreachable(a dialling, why error) {
	n.Logger.Debug("connect", "dst", a.dst, "err", why)
	refuse := func() error {
		if n.ports.listensAt(a.program) && !n.isOpen(a.id, a.program, a.gate) {
			return nil // it would be the listener that is connected to
		}
		return n.gateFor(a.dst.Addr()).refuse(a.gate, a.program)
	}
	err := n.attempts.fail(a.id, a.attempt, Errno(why), refuse)
	// For lack of descriptors, most likely. The program waits.
	for i := 0; err != nil && i < refuseTries && n.ctx.Err() == nil; i++ {
		time.Sleep(refusePause)
		err = refuse()
	}
	if err != nil {
		n.Logger.Error("end a connect", "dst", a.dst, "err", err)
	}
}

const (
	refuseTries = 100
	refusePause = 50 * time.Millisecond
)

// watchClosed gives an attempt up when the program has closed its socket, of
// which we keep no copy: as on Linux, the far side then never accepts it. It works
// until the returned function is called.
func (n *Node) watchClosed(a dialling) (stop func()) {
	var t *time.Timer
	var mu sync.Mutex // t is there
	mu.Lock()
	defer mu.Unlock()
	t = time.AfterFunc(closedLook, func() {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case a.hasEnded():
		case n.isOpen(a.id, a.program, a.gate):
			t.Reset(closedLook)
		default:
			n.attempts.giveUp(a.attempt)
		}
	})
	return func() { t.Stop() }
}

// closedLook is how often a connect that takes its time is looked after. The
// kernel of a listener whose backlog is full asks again after a second (tcp(7)).
const closedLook = 200 * time.Millisecond

// waitFor waits for an attempt's end on behalf of a blocking connect, as long
// as SO_SNDTIMEO allows; then it fails with late. It owns fd.
func (n *Node) waitFor(fd int, id uint64, at *attempt, late unix.Errno) (reply, bool) {
	return later(func(ctx context.Context, _ Call) reply {
		defer n.release(fd, at)
		expired, stop := socketTimer(fd, unix.SO_SNDTIMEO)
		defer stop()
		select {
		case <-at.done:
		case <-expired:
			return fail(late)
		case <-ctx.Done():
			return fail(unix.EINTR) // nobody waits
		}
		return n.outcome(fd, id, at)
	}), true
}

// outcome answers a blocking connect whose attempt has ended.
func (n *Node) outcome(fd int, id uint64, at *attempt) reply {
	settle(fd)
	if at.errno != 0 {
		n.attempts.takeError(id)
		r := fail(at.errno)
		r.ends = at.ends
		return r
	}
	return reply{ends: at.ends}
}

// release closes the copy of a socket that an attempt uses, when that has ended:
// mostly now, so that the program's close(2) is the last.
func (n *Node) release(fd int, at *attempt) {
	if at.hasEnded() {
		closeFD(fd)
		return
	}
	n.tasks.Go(func() {
		<-at.done
		closeFD(fd)
	})
}

// socketTimer returns a channel that fires when the given timeout of the
// socket expires; never, if it has none.
func socketTimer(fd, opt int) (<-chan time.Time, func()) {
	tv, err := timeout(fd, opt)
	if err != nil || tv.Nano() == 0 {
		return nil, func() {}
	}
	t := time.NewTimer(time.Duration(tv.Nano()))
	return t.C, func() { t.Stop() }
}

// clearError takes the error that shutdown left in the socket (sk_err).
func clearError(fd int) { getsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) }

// connectSelf connects to one of the node's own virtual addresses: the kernel's own
// loopback connection.
func (n *Node) connectSelf(fd, domain int, block bool, dst netip.AddrPort) (reply, bool) {
	found, err := n.live(dst.Port(), dst.Addr(), wildcardOf(dst.Addr()))
	if err != nil {
		return fail(err), false
	}
	last := n.gate.closed
	if len(found) == 0 {
		if own, ok := n.itself(fd, dst); ok {
			last = own
		}
	}
	return n.connectLocal(fd, domain, block, n.publicFor(dst.Addr()), found, last)
}

// itself returns the kernel address of a socket that is bound to the very address which
// it is to connect to: a simultaneous open with itself (RFC 9293 section 3.5).
func (n *Node) itself(fd int, dst netip.AddrPort) (netip.AddrPort, bool) {
	local, _, err := localName(fd)
	if err != nil {
		return netip.AddrPort{}, false
	}
	kernel := unmapped(local.Addr)
	r, ok := n.Aliases.role(kernel.Addr())
	if !ok || n.ports.known(kernel) != dst.Port() {
		return netip.AddrPort{}, false
	}
	own := n.own(r)
	return kernel, own == dst.Addr() || own == wildcardOf(dst.Addr())
}

// connectLocalhost connects to 127.0.0.1 or ::1: the node's own, or the host's
// where the node has no listener.
func (n *Node) connectLocalhost(fd, domain int, block bool, dst netip.AddrPort) (reply, bool) {
	switch {
	case dst.Addr().Is6():
		return n.connectLocalhost6(fd, domain, block, dst.Port())
	case dst.Addr().IsLoopback() && dst.Addr() != localhost4: // 127.0.0.2
		return n.orHost(fd, domain, block, dst, netip.IPv4Unspecified())
	}
	return n.orHost(fd, domain, block, netip.AddrPortFrom(localhost4, dst.Port()),
		localhost4, netip.IPv4Unspecified())
}

// orHost connects to one of the listeners that the node has at the port on addrs, or to
// the host.
func (n *Node) orHost(fd, domain int, block bool, host netip.AddrPort,
	addrs ...netip.Addr) (reply, bool) {
	found, err := n.live(host.Port(), addrs...)
	if err != nil {
		return fail(err), false
	}
	if len(found) == 0 {
		if own, ok := n.itself(fd, host); ok {
			return n.connectLocal(fd, domain, block, n.Aliases.Private, nil, own)
		}
		return letThrough, false
	}
	return n.connectLocal(fd, domain, block, n.Aliases.Private, found, host)
}

// connectLocalhost6 connects to ::1. What is at an alias cannot reach the host's
// own ::1 any more, so the listeners have to be there.
func (n *Node) connectLocalhost6(fd, domain int, block bool, port uint16) (reply, bool) {
	local, _, err := localName(fd)
	if err != nil {
		return fail(err), false
	}
	r, alias := n.Aliases.role(local.Addr.Addr().Unmap())
	// [::] is 127.0.0.1 to it, tcp_v6_connect in net/ipv6/tcp_ipv6.c
	if alias && r&six == 0 && r != dual {
		return n.connectLocalhost(fd, domain, block, netip.AddrPortFrom(localhost4, port))
	}
	found, err := n.live(port, netip.IPv6Loopback(), netip.IPv6Unspecified())
	if err != nil {
		return fail(err), false
	}
	if len(found) == 0 && !alias {
		return letThrough, false
	}
	return n.connectLocal(fd, domain, block, n.Aliases.Private6, found, n.gate.closed)
}

// connectLocal tries the listeners in turn, then last.
func (n *Node) connectLocal(fd, domain int, block bool, source netip.Addr,
	found []listener, last netip.AddrPort) (reply, bool) {
	switch state, err := tcpState(fd); {
	case err != nil:
		return fail(err), false
	case state == tcpSynSent && block:
		return n.finishLocal(fd, true, unix.EALREADY)
	case state != tcpClose:
		return fail(connectNow(fd, domain, n.gate.addr)), false
	}
	// or else it would pass for the listener's refusal
	if err := unfetched(fd, domain); err != nil {
		return fail(err), false
	}
	local, _, err := localName(fd)
	if err != nil {
		return fail(err), false
	}
	if local.Addr.Port() != 0 {
		n.meetSelf(local, source)
	} else { // the socket that had the port before may have met another
		defer func() {
			if local, _, err := localName(fd); err == nil {
				n.meetSelf(local, source)
			}
		}()
	}
	if err := n.vouchFor(fd); err != nil { // before the other end can see it
		return fail(err), false
	}
	for _, l := range found {
		err = n.connectFrom(fd, domain, source,
			func() error { return connectLoopback(fd, domain, l.kernel) })
		if err != unix.ECONNREFUSED {
			return n.finishLocal(fd, block, err)
		}
	}
	err = n.connectFrom(fd, domain, source,
		func() error { return connectNow(fd, domain, last) })
	return n.finishLocal(fd, block, err)
}

// meetSelf notes at which address of the node a bound socket meets another of the node:
// the one that source stands for.
func (n *Node) meetSelf(local abi.Sockaddr, source netip.Addr) {
	if r, ok := n.Aliases.role(local.Addr.Addr().Unmap()); ok {
		to, _ := n.Aliases.role(source)
		n.ports.addSelf(unmapped(local.Addr), n.own(r), n.own(to))
	}
}

// unfetched returns what an earlier connect of a closed socket has come to, if the
// program has not been told: the next connect(2) tells it, whereto it may be. The kernel
// looks for that before it looks at the address (net/ipv4/af_inet.c,
// __inet_stream_connect), so an address that is cut short starts nothing else.
func unfetched(fd, domain int) error {
	family := uint16(domain)
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd),
		uintptr(unsafe.Pointer(&family)), unsafe.Sizeof(family))
	if errno == unix.EINVAL || errno == 0 {
		return nil
	}
	return errno
}

// connectLoopback starts a connect on loopback, where a refusal has arrived by
// the time that the call returns; another may follow it.
func connectLoopback(fd, domain int, addr netip.AddrPort) error {
	err := connectNow(fd, domain, addr)
	if err != unix.EINPROGRESS {
		return err
	}
	if state, serr := tcpState(fd); serr != nil || state != tcpClose {
		return err
	}
	return connectNow(fd, domain, addr) // fetches the error: it starts nothing
}

// finishLocal ends a connect that the kernel does. On loopback it has mostly
// come to its end by now; a blocking one waits here if the backlog is full, be it
// the first (begun is EINPROGRESS) or one more on the same socket (EALREADY).
func (n *Node) finishLocal(fd int, block bool, begun error) (reply, bool) {
	if !block || begun != unix.EINPROGRESS && begun != unix.EALREADY {
		return fail(begun), false
	}
	if ev, err := pollNow(fd, unix.POLLOUT); err == nil && ev != 0 {
		return fail(settle(fd)), false
	}
	return later(func(ctx context.Context, _ Call) reply {
		defer closeFD(fd)
		err := n.readiness.wait(ctx, fd, unix.POLLOUT, unix.SO_SNDTIMEO)
		if err == unix.EAGAIN {
			return fail(begun)
		}
		if err != nil {
			return fail(err)
		}
		return fail(settle(fd))
	}), true
}

// settle fetches the outcome of a kernel connect that has ended. To the kernel
// it was a non-blocking one: with a second call it is over, and the socket is as
// after a blocking one (EISCONN, or ready for another instead of ECONNABORTED). There is
// nothing at the address, lest it start a connect where there is none to end.
// Another thread may have begun another one meanwhile: that is not waited for.
func settle(fd int) error {
	return withoutWaiting(fd, func() error {
		return rawConnect(fd,
			&unix.RawSockaddr{Family: unix.AF_UNIX})
	})
}
