package syscalls

import (
	"context"
	"net/netip"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// A datagram is a received datagram.
type datagram struct {
	b       []byte // as much as the program has room for
	size    int    // the call's return value: more than len(b) with MSG_TRUNC
	from    []byte // as it lies in memory
	control []byte
	flags   int
}

// recvfrom answers recvfrom(2) with an address: the program sees the sender's virtual
// address. The filter does not trap it with a NULL address.
func (n *Node) recvfrom(c Call) reply {
	size, flags := min(c.Uint(2), maxDatagram), c.Int(3)
	return n.receive(c, flags, func(c Call, s *progSocket) reply {
		return n.take(s, flags, size, 0, func(d datagram) reply {
			if err := c.WriteMemory(c.Ptr(1), d.b[:min(d.size, len(d.b))]); err != nil {
				return fail(err)
			}
			if err := writeName(c, d.from, c.Ptr(4), c.Ptr(5)); err != nil {
				return fail(err)
			}
			return value(uintptr(d.size))
		})
	})
}

// recvmsg answers recvmsg(2), whose address and control messages a filter cannot see. The
// kernel performs it if it has room for neither, or if the socket is not UDP. recvmsg
// checks the socket first: most calls are on Unix and TCP sockets with room for control
// messages (D-Bus, X11, gRPC), and need no read of the program's memory.
func (n *Node) recvmsg(c Call) reply {
	s, ok := n.receiver(c)
	if !ok {
		return passthrough
	}
	m, err := readMsghdr(c, c.Ptr(1))
	if err != nil || m.Name == 0 && m.Controllen == 0 {
		s.close()
		return passthrough
	}
	flags := c.Int(2)
	return n.receiveOn(c, s, flags, func(c Call, s *progSocket) reply {
		return n.takeHeader(c, s, m, flags)
	})
}

// takeHeader receives a datagram into the buffers of a message header.
func (n *Node) takeHeader(c Call, s *progSocket, m abi.Msghdr, flags int) reply {
	if m.Name != 0 && int32(m.Namelen) < 0 {
		return fail(unix.EINVAL)
	}
	iov, total, err := readIovecs(c, m)
	if err != nil {
		return fail(err)
	}
	return n.take(s, flags, min(total, maxDatagram), controlRoom(c, m.Controllen),
		func(d datagram) reply {
			control, cut := controlFor(c, d.control, m.Controllen)
			if cut {
				d.flags |= unix.MSG_CTRUNC
			}
			if err := scatter(c, iov, d.b[:min(d.size, len(d.b))]); err != nil {
				return fail(err)
			}
			if m.Name != 0 {
				if err := c.WriteMemory(m.Name,
					d.from[:min(len(d.from), int(m.Namelen))]); err != nil {
					return fail(err)
				}
			}
			if err := c.WriteMemory(m.Control, control); err != nil {
				return fail(err)
			}
			if err := finishMessage(c, m, uint32(len(d.from)), uint64(len(control)),
				int32(d.flags)); err != nil {
				return fail(err)
			}
			return value(uintptr(d.size))
		})
}

// maxControl bounds the control data that one datagram can have, in bytes
// (optmem_max is far more, but no UDP option makes so much).
const maxControl = 4096

// controlRoom returns how much control data to ask for. A 32-bit program's becomes
// shorter.
func controlRoom(c Call, room uint64) uint64 {
	if c.Compat() && room > 0 {
		return maxControl
	}
	return min(room, maxControl)
}

// recvmmsg answers recvmmsg(2).
func (n *Node) recvmmsg(c Call) reply {
	if !n.translates() {
		return passthrough
	}
	s := series{n: n, at: c.Ptr(1), count: min(int(uint32(c.Uint(2))), abi.MaxIovecs),
		flags: c.Int(3), timeout: c.Ptr(4)}
	if s.timeout != 0 {
		sec, nsec, err := readTimespec(c, s.timeout)
		if err != nil {
			return fail(err)
		}
		if sec < 0 || nsec < 0 || nsec >= 1e9 {
			return fail(unix.EINVAL)
		}
		s.deadline = time.Now().Add(time.Duration(min(sec, maxSeconds))*time.Second +
			time.Duration(nsec))
	}
	if s.count == 0 {
		return passthrough
	}
	return s.finish(n.receive(c, s.flags, s.next))
}

// maxSeconds bounds a timeout, so that it can be added to the time: 31 years.
const maxSeconds = 1e9

// A series is one recvmmsg(2).
type series struct {
	n           *Node
	at          uintptr // the next struct mmsghdr
	done, count int
	flags       int
	timeout     uintptr   // where the program's struct timespec is; 0: none
	deadline    time.Time // of timeout
}

// msgWaitForOne is MSG_WAITFORONE of include/linux/socket.h.
const msgWaitForOne = 0x10000

// next receives the datagrams that have arrived. It fails with EAGAIN if the call has to
// wait for more.
func (s *series) next(c Call, from *progSocket) reply {
	for s.done < s.count {
		m, err := readMsghdr(c, s.at)
		if err != nil {
			return fail(err)
		}
		r := s.n.takeHeader(c, from, m, s.flags&^msgWaitForOne)
		if r.kind == replyErrno && r.errno == unix.EAGAIN && s.done > 0 &&
			s.flags&msgWaitForOne != 0 {
			break
		}
		if r.kind != replyValue {
			return r
		}
		if err := putMessageLen(c, s.at, r.value); err != nil {
			return fail(err)
		}
		s.done++
		s.at += uintptr(layoutOf(c).SizeofMmsghdr)
		if s.over(c) {
			break
		}
	}
	return value(uintptr(s.done))
}

// over reports whether the timeout has expired. Linux checks that after each datagram,
// and never while it waits (recvmmsg(2), BUGS). over stores the remaining time in the
// program.
func (s *series) over(c Call) bool {
	if s.timeout == 0 {
		return false
	}
	left := max(time.Until(s.deadline), 0)
	return writeTimespec(c, s.timeout, int64(left/time.Second),
		int64(left%time.Second)) != nil || left == 0
}

// finish returns the reply of the series. After an error, it is the number of datagrams
// before the error, if there are any.
func (s *series) finish(r reply) reply {
	switch r.kind {
	case replyWait:
		wait := r.wait
		r.wait = func(ctx context.Context,
			c Call) reply {
			return partial(s.done, wait(ctx, c))
		}
		return r
	case replyContinue:
		return r
	}
	return partial(s.done, r)
}

// translates reports whether a program may receive addresses that need translation.
func (n *Node) translates() bool {
	return n.dns.used() || n.netlinks.used() || n.udp.flows.used() || n.udp.ports.used()
}

// receiver returns a copy of the socket that a call receives from. ok is false if the
// kernel has to perform the call: there is nothing to translate, or the socket is not
// UDP.
func (n *Node) receiver(c Call) (s *progSocket, ok bool) {
	if !n.translates() {
		return nil, false
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return nil, false // the kernel reports the error
	}
	s = &progSocket{fd: fd}
	if ok, err := s.isUDP(); err != nil || !ok && !n.netlinks.has(fd) {
		s.close()
		return nil, false
	}
	return s, true
}

// receive receives from a UDP socket by once, which gets a copy of the socket and fails
// with EAGAIN instead of waiting. A call on a blocking socket then waits on another
// goroutine.
func (n *Node) receive(c Call, flags int, once func(Call, *progSocket) reply) reply {
	s, ok := n.receiver(c)
	if !ok {
		return passthrough
	}
	return n.receiveOn(c, s, flags, once)
}

// receiveOn is receive on a copy of the socket, which it owns.
func (n *Node) receiveOn(c Call, s *progSocket, flags int,
	once func(Call, *progSocket) reply) reply {
	defer s.close() // unless a call that waits has taken it over
	r := once(c, s)
	if r.kind != replyErrno || r.errno != unix.EAGAIN ||
		flags&(unix.MSG_DONTWAIT|unix.MSG_ERRQUEUE) != 0 {
		return r
	}
	if nb, err := s.nonblocking(); err != nil || nb {
		return r
	}
	id, err := s.cookie()
	if err != nil {
		return fail(err)
	}
	fd := s.takeFD()
	return async(func(ctx context.Context, c Call) reply {
		turn := n.readiness.hold(id, fd, unix.SO_RCVTIMEO)
		defer turn.leave()
		for {
			if err := turn.wait(ctx, c, unix.POLLIN); err != nil {
				return fail(err)
			}
			if !c.Pending() {
				return fail(unix.EINTR)
			}
			if r := once(c, &progSocket{fd: turn.fd}); r.kind != replyErrno ||
				r.errno != unix.EAGAIN {
				return r // on EAGAIN, another thread has received the datagram
			}
		}
	})
}

// take receives a datagram from a socket and calls give with it. The datagram is valid
// until give returns.
func (n *Node) take(s *progSocket, flags int, room, control uint64,
	give func(datagram) reply) reply {
	buf := datagramBuffers.Get().(*[maxDatagram + 1]byte)
	defer datagramBuffers.Put(buf)
	d := datagram{b: buf[:room]}
	var oob []byte
	var mapped mappedReceive
	var isMapped bool
	if control > 0 {
		if mapped, isMapped = receiveMapped(s.fd); isMapped {
			defer mapped.end()
		}
		size := control
		if isMapped { // cut when it is what the program sees
			size = maxControl
		}
		oob = make([]byte, size)
	}
	size, oobn, rflags, from, err := unix.Recvmsg(s.fd, d.b, oob,
		flags&^unix.MSG_WAITALL|unix.MSG_DONTWAIT)
	if err != nil {
		return fail(n.udp.unreachables.trueError(s, err))
	}
	d.size, d.control, d.flags = size, oob[:oobn], rflags
	var name [abi.SizeofSockaddrInet6]byte
	if a, ok := from.(*unix.SockaddrNetlink); ok {
		d.from = n.netlinks.appendSource(name[:0], a)
		return give(d)
	}
	o, ok := n.udp.originOf(from, flags&unix.MSG_ERRQUEUE != 0)
	if !ok {
		return give(d)
	}
	if isMapped || o.isV6() {
		var cut bool
		if d.control, cut = mapped.control(d.control, o.isV6(), int(control)); cut {
			d.flags |= unix.MSG_CTRUNC
		}
	}
	n.udp.translateControl(d.control, o)
	d.from = abi.AppendSockaddr(name[:0], o.source)
	return give(d)
}

// appendSource appends the sender's address of a netlink message as the program sees it.
func (k *netlinks) appendSource(b []byte, from *unix.SockaddrNetlink) []byte {
	port := from.Pid
	if k.isServer(port) {
		port = 0 // the kernel
	}
	name := abi.SockaddrNetlink{Port: port, Groups: from.Groups}.Encode()
	return append(b, name[:]...)
}

// An origin is the source of a datagram; for an error, it is the destination of the
// datagram that caused it.
type origin struct {
	kernel  netip.AddrPort
	source  abi.Sockaddr // as the program sees it
	isError bool
}

// isV6 reports whether the program sees an IPv6 datagram.
func (o origin) isV6() bool {
	a := o.source.Addr.Addr()
	return o.source.V6 && a.Is6() && !a.Is4In6()
}

// originOf returns the origin of a datagram from a kernel address; ok is false if it has
// none.
func (u *udp) originOf(from unix.Sockaddr, isError bool) (o origin, ok bool) {
	addr, isV6, ok := sockaddrAddrPort(from)
	if !ok {
		return o, false
	}
	return origin{kernel: unmapped(addr), isError: isError,
		source: u.datagramName(abi.Sockaddr{Addr: addr, V6: isV6}, isError)}, true
}

// translateControl translates the addresses in a datagram's control messages for the
// program.
func (u *udp) translateControl(control []byte, o origin) {
	if len(control) == 0 {
		return
	}
	target, index := u.datagramTarget(o.kernel)
	unreachable := u.flows.isUnreachableHost(o.kernel)
	abi.TranslateControl(control, target, u.datagramOffender(o.source, unreachable), index)
	if o.isError && o.isV6() {
		abi.ICMPv6Errors(control)
	}
	if unreachable {
		abi.HostUnreachableErrors(control)
	}
}

func sockaddrAddrPort(sa unix.Sockaddr) (a netip.AddrPort, isV6, ok bool) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), false, true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), true, true
	}
	return netip.AddrPort{}, false, false
}
