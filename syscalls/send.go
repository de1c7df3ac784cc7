package syscalls

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// A payload copies a program's data into a buffer and returns its size. It fails with
// EMSGSIZE if the buffer is too small.
type payload func(b []byte) (int, error)

// sendto answers sendto(2) with an address. With a NULL address, the filter traps it only
// for netlink (muslRequest) and with MSG_OOB.
func (n *Node) sendto(c Call) reply {
	if c.Int(3)&unix.MSG_OOB != 0 {
		n.warnUrgent(c)
	}
	size := c.Uint(2)
	read := func(b []byte) (int, error) {
		if size > uint64(len(b)) {
			return 0, unix.EMSGSIZE
		}
		return int(size), c.ReadMemory(c.Ptr(1), b[:size])
	}
	if c.Ptr(4) == 0 {
		return n.netlinks.send(c, 0, 0, read)
	}
	dst, err := readSockaddr(c, c.Ptr(4), c.Int(5))
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return n.netlinks.send(c, c.Ptr(4), c.Int(5), read)
	case err != nil:
		return passthrough // the kernel says what is wrong
	}
	return n.sendTo(c, dst, c.Int(3), nil, read)
}

// sendTo answers a call that sends to an address. control are the control messages of the
// datagram, if it is one.
func (n *Node) sendTo(c Call, dst abi.Sockaddr, flags int, control []byte,
	p payload) reply {
	return onSocket(c, func(s *progSocket) reply {
		ok, err := s.isUDP()
		switch {
		case err != nil:
			return fail(err)
		case ok:
			return n.udp.sendTo(c, s, dst, flags, control, p)
		}
		return n.sendOther(c, s, dst, flags)
	})
}

// sendTo sends a datagram from a program's socket, if dst is for the node to serve.
// control are its control messages.
func (u *udp) sendTo(c Call, s *progSocket, dst abi.Sockaddr, flags int, control []byte,
	p payload) reply {
	addr := unmapped(dst.Addr)
	if dst.V6 && s.domain != unix.AF_INET6 {
		return passthrough
	}
	if err := u.checkDestination(s, dst); err != nil {
		return fail(err)
	}
	if u.pings.has(s) {
		return u.sendPing(c, s, flags, control, addr.Addr(), p)
	}
	if addr.Port() == 0 {
		return fail(unix.EINVAL) // udp_sendmsg in net/ipv4/udp.c
	}
	p = u.unfragmented(s, addr.Addr(), control, p)
	given := control
	control = u.kernelControl(control)
	u.choosesIPFields(control)
	if r, ok := u.sendDirect(c, s, flags, addr, control, p); ok {
		return r
	}
	kernel, ok, err := u.datagramWay(s, addr, holderOf(c))
	if err != nil {
		return fail(err)
	}
	if !ok {
		return u.sendHost(s, flags, addr, given, p)
	}
	return u.sendOn(s, flags, control, kernelSockaddr(s.domain, kernel), p)
}

// sendHost sends a datagram to where the kernel itself delivers it: to a socket with a
// port of the host, or to the outside. It removes a source address that is the node's,
// which the kernel does not have.
func (u *udp) sendHost(s *progSocket, flags int, to netip.AddrPort, control []byte,
	p payload) reply {
	rest, source, cut := abi.CutSource(control)
	if !cut || !u.Owns(source) && !source.IsLoopback() {
		return passthrough
	}
	return u.sendOn(s, flags, rest, kernelSockaddr(s.domain, to), p)
}

// sendOther answers a call that sends to an address from a socket that is not UDP.
func (n *Node) sendOther(c Call, s *progSocket, dst abi.Sockaddr, flags int) reply {
	if flags&unix.MSG_FASTOPEN == 0 {
		return passthrough
	}
	domain, _, err := s.kind()
	if err != nil {
		return fail(err)
	}
	if !isInet(domain) || dst.V6 != (domain == unix.AF_INET6) {
		return passthrough
	}
	return n.fastOpen(c, dst, flags)
}

// checkDestination fails if an IPv6 socket cannot send to an address.
func (u *udp) checkDestination(s *progSocket, dst abi.Sockaddr) error {
	if s.domain != unix.AF_INET6 {
		return nil
	}
	if !dst.V6 { // allowed, and treated as v4-mapped: udpv6_sendmsg in net/ipv6/udp.c
		dst = abi.Sockaddr{Addr: netip.AddrPortFrom(netip.AddrFrom16(dst.Addr.Addr().As16()),
			dst.Addr.Port()), V6: true}
	}
	if err := u.checkLink(dst, false); err != nil {
		return err
	}
	return u.checkFamily(s, dst)
}

// kernelControl returns the control messages that the kernel gets with a datagram. The
// destination determines the source, so a request for an address of the node is already
// met and is removed. The kernel refuses others.
func (u *udp) kernelControl(control []byte) []byte {
	rest, source, cut := abi.CutSource(control)
	if cut && (source.IsUnspecified() || u.Owns(source) || source.IsLoopback()) {
		control = rest
	}
	if mapped, ok := v4Control(control); ok {
		return mapped
	}
	return control
}

// sendOn sends from a program's socket. to is nil if the socket is connected.
func (u *udp) sendOn(s *progSocket, flags int, control []byte, to unix.Sockaddr,
	p payload) reply {
	buf := datagramBuffers.Get().(*[maxDatagram + 1]byte)
	defer datagramBuffers.Put(buf)
	size, err := p(buf[:maxDatagram])
	if err != nil {
		return fail(err)
	}
	// Loopback takes a datagram at once or not at all.
	s.renamed() // the kernel binds it with the first datagram
	sent, err := unix.SendmsgN(s.fd, buf[:size], control, to, flags|unix.MSG_DONTWAIT)
	if err != nil {
		return fail(u.unreachables.trueError(s, err))
	}
	return value(uintptr(sent))
}

// sendmsg answers sendmsg(2), whose address and control messages a filter cannot see.
// Most calls have neither, and the kernel performs them.
func (n *Node) sendmsg(c Call) reply {
	if c.Int(2)&unix.MSG_OOB != 0 {
		n.warnUrgent(c)
	}
	m, err := readMsghdr(c, c.Ptr(1))
	if err != nil {
		return passthrough
	}
	return n.sendHeader(c, m, c.Int(2), false)
}

// sendHeader sends one message. several says that the call has more messages.
func (n *Node) sendHeader(c Call, m abi.Msghdr, flags int, several bool) reply {
	if m.Name == 0 {
		return n.sendUnnamed(c, m, flags, several)
	}
	gather := func(b []byte) (int, error) { return gather(c, m, b) }
	dst, err := readSockaddr(c, m.Name, int(m.Namelen))
	switch {
	case errors.Is(err, unix.EAFNOSUPPORT):
		return n.netlinks.send(c, m.Name, int(m.Namelen), gather)
	case err != nil:
		return passthrough
	}
	control, err := readControl(c, m)
	if err != nil {
		return passthrough // the kernel says what is wrong
	}
	return n.sendTo(c, dst, flags, control, gather)
}

// sendUnnamed answers sendmsg(2) without an address, as TCP and Unix sockets use it. The
// kernel performs the call at once, unless there are control messages, netlink sockets,
// or UDP sockets that forbid fragments.
func (n *Node) sendUnnamed(c Call, m abi.Msghdr, flags int, several bool) reply {
	if m.Controllen == 0 && !n.netlinks.maybe(c.TID(), c.Int(0)) {
		return passthrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return passthrough // the kernel reports the error
	}
	s := &progSocket{fd: fd}
	defer s.close()
	udp, err := s.isUDP()
	switch {
	case err != nil:
		return passthrough
	case udp && (m.Controllen > 0 || n.udp.uncut.Load()):
		return n.udp.sendConnected(c, s, m, flags, several)
	case udp || !n.netlinks.has(fd):
		n.netlinks.isOther(c.TID(), c.Int(0))
		return passthrough
	}
	return n.netlinks.send(c, 0, 0, func(b []byte) (int, error) { return gather(c, m, b) })
}

// sendConnected sends a message from a UDP socket without an address. It refuses a
// message that is larger than a packet if the socket forbids fragments, because the
// kernel does not know the size of packets. It handles a message that chooses its source,
// because the kernel does not have the node's address.
func (u *udp) sendConnected(c Call, s *progSocket, m abi.Msghdr, flags int,
	several bool) reply {
	control, err := readControl(c, m)
	if err != nil {
		return passthrough // the kernel says what is wrong
	}
	peer, ok, err := s.peerName()
	if err != nil || !ok || !peer.Addr.Addr().Unmap().IsLoopback() { // to the outside
		return passthrough
	}
	uncut := false // otherwise the kernel would send the other messages unchecked
	if to, ok := u.flows.peerOf(unmapped(peer.Addr)); ok && u.crosses(to.Addr()) {
		_, size, err := readIovecs(c, m)
		if err == nil && s.tooLarge(to.Addr(), control, int(min(size, maxDatagram))) {
			return fail(unix.EMSGSIZE)
		}
		uncut = several && s.isUncut(to.Addr())
	}
	_, _, cut := abi.CutSource(control)
	forIPv4, mapped := v4Control(control)
	u.choosesIPFields(forIPv4)
	if !cut && !mapped && !uncut {
		return passthrough
	}
	return u.sendOn(s, flags, u.kernelControl(control), nil,
		func(b []byte) (int, error) { return gather(c, m, b) })
}

// sendmmsg answers sendmmsg(2): all messages, or none if the kernel has to send the
// first.
func (n *Node) sendmmsg(c Call) reply {
	if c.Int(3)&unix.MSG_OOB != 0 {
		n.warnUrgent(c)
	}
	count := min(int(uint32(c.Uint(2))), abi.MaxIovecs)
	if count == 0 {
		return passthrough
	}
	for i := range count {
		at := c.Ptr(1) + uintptr(i*layoutOf(c).SizeofMmsghdr)
		m, err := readMsghdr(c, at)
		if err != nil {
			return partial(i, passthrough)
		}
		r := n.sendHeader(c, m, c.Int(3), count > 1)
		if r.kind != replyValue {
			return partial(i, r)
		}
		if err := putMessageLen(c, at, r.value); err != nil {
			return partial(i, fail(err))
		}
	}
	return value(uintptr(count))
}

// partial returns the reply of sendmmsg or recvmmsg after done messages: their number, or
// r if it is 0. The program calls again for the rest.
func partial(done int, r reply) reply {
	if done > 0 {
		return value(uintptr(done))
	}
	return r
}

// putMessageLen writes msg_len of the struct mmsghdr at an address.
func putMessageLen(c Call, at uintptr, n uintptr) error {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(n))
	return c.WriteMemory(at+uintptr(layoutOf(c).SizeofMsghdr), b[:])
}
