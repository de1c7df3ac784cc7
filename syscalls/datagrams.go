package syscalls

import (
	"context"
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// highFD is where UDP sockets get their descriptors: the filter traps the calls
// whose address lies behind a pointer (sendmsg, recvmsg) only from there on, so
// that they cost TCP sockets nothing. It is below 1,024 for select(2).
const highFD = 768

// socket answers socket(2) for UDP and for NETLINK_ROUTE: the supervisor makes
// the socket and gives it a high number.
func (n *Node) socket(c Call) reply {
	if c.Int(0) == unix.AF_NETLINK {
		return n.netlinkSocket(c)
	}
	if p := c.Int(2); p != 0 && p != unix.IPPROTO_UDP {
		return letThrough // ping sockets, icmp(7)
	}
	fd, err := unix.Socket(c.Int(0), c.Int(1)|unix.SOCK_CLOEXEC, c.Int(2))
	if err != nil {
		return fail(err)
	}
	r := descriptor(fd, c.Int(1)&unix.SOCK_CLOEXEC != 0, func() { unix.Close(fd) })
	r.from = highFD
	return r
}

// dup answers dup(2) on a descriptor of the high range: the copy of a UDP socket
// has to be there, too.
func (n *Node) dup(c Call) reply { return n.duplicate(c, 0, false) }

// fcntlDup answers fcntl(2) with F_DUPFD and F_DUPFD_CLOEXEC there.
func (n *Node) fcntlDup(c Call) reply {
	return n.duplicate(c, c.Int(2), c.Int(1) == unix.F_DUPFD_CLOEXEC)
}

func (n *Node) duplicate(c Call, from int, cloexec bool) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	if _, ok, err := isUDP(fd); err != nil || !ok && !n.isNetlink(fd) || from < 0 {
		unix.Close(fd)
		return letThrough
	}
	r := descriptor(fd, cloexec, func() { unix.Close(fd) })
	r.from = max(from, highFD)
	return r
}

// isUDP reports whether a copied descriptor is a UDP socket of ours to handle.
func isUDP(fd int) (domain int, ok bool, err error) {
	domain, typ, err := kind(fd)
	if err != nil || !isInet(domain) || typ != unix.SOCK_DGRAM {
		return domain, false, err
	}
	proto, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return domain, proto == unix.IPPROTO_UDP, err
}

// connectDatagram answers connect(2) on a UDP socket.
func (n *Node) connectDatagram(fd, domain int, dst netip.AddrPort) reply {
	kernel, ok, err := n.datagramRoute(dst)
	if err != nil {
		return fail(err)
	}
	if ok {
		return fail(unix.Connect(fd, kernelSockaddr(domain, kernel)))
	}
	// To the outside after a connect to the network: the kernel keeps the source
	// address of the first, and loopback's leads nowhere.
	if local, ok, err := localName(fd); err == nil && ok && local.Addr.Addr().Unmap() == localhost4 {
		if err := disconnect(fd); err != nil {
			return fail(err)
		}
	}
	return letThrough
}

// rawConnect is connect(2) with an address that package unix cannot express.
func rawConnect(fd int, sa *unix.RawSockaddr) error {
	_, _, errno := unix.Syscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(sa)), unsafe.Sizeof(*sa))
	if errno != 0 {
		return errno
	}
	return nil
}

// sendto answers sendto(2) with an address. With a NULL address the filter traps
// it only where netlink sockets are.
func (n *Node) sendto(c Call) reply {
	size := c.Uint(2)
	payload := func() ([]byte, error) {
		if size > maxDatagram {
			return nil, unix.EMSGSIZE
		}
		b := make([]byte, size)
		return b, c.ReadMemory(c.Ptr(1), b)
	}
	if c.Ptr(4) == 0 {
		return n.sendNetlink(c, 0, 0, payload)
	}
	dst, err := readSockaddr(c, c.Ptr(4), c.Int(5))
	switch {
	case err == unix.EAFNOSUPPORT:
		return n.sendNetlink(c, c.Ptr(4), c.Int(5), payload)
	case err != nil:
		return letThrough // the kernel says what is wrong
	}
	return n.sendTo(c, dst, c.Int(3), payload)
}

// sendTo sends what payload returns, if dst is for the node to serve.
func (n *Node) sendTo(c Call, dst Sockaddr, flags int, payload func() ([]byte, error)) reply {
	addr := netip.AddrPortFrom(dst.Addr.Addr().Unmap(), dst.Addr.Port())
	if !n.Prefix.Contains(addr.Addr()) && !isLocalhost(addr.Addr()) && !n.isNameServer(addr) {
		return letThrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	domain, ok, err := isUDP(fd)
	if err != nil {
		return fail(err)
	}
	if !ok {
		if flags&unix.MSG_FASTOPEN != 0 && isInet(domain) {
			return fail(unix.EOPNOTSUPP) // as a kernel without TCP Fast Open; programs then connect
		}
		return letThrough
	}
	if dst.Six != (domain == unix.AF_INET6) {
		return letThrough
	}
	if addr.Port() == 0 {
		return fail(unix.EINVAL) // udp_sendmsg in net/ipv4/udp.c
	}
	kernel, ok, err := n.datagramRoute(addr)
	if err != nil {
		return fail(err)
	}
	if !ok {
		return letThrough
	}
	b, err := payload()
	if err != nil {
		return fail(err)
	}
	// Loopback takes a datagram at once or not at all.
	if err := unix.Sendto(fd, b, flags|unix.MSG_DONTWAIT, kernelSockaddr(domain, kernel)); err != nil {
		return fail(err)
	}
	return value(uintptr(len(b)))
}

// sendmsg answers sendmsg(2) on a descriptor of the high range.
func (n *Node) sendmsg(c Call) reply {
	m, err := readMsghdr(c, c.Ptr(1))
	if err != nil {
		return letThrough
	}
	return n.sendHeader(c, m, c.Int(2))
}

func (n *Node) sendHeader(c Call, m msghdr, flags int) reply {
	payload := func() ([]byte, error) { return m.gather(c) }
	if m.name == 0 {
		return n.sendNetlink(c, 0, 0, payload)
	}
	dst, err := readSockaddr(c, m.name, int(m.nameLen))
	switch {
	case err == unix.EAFNOSUPPORT:
		return n.sendNetlink(c, m.name, int(m.nameLen), payload)
	case err != nil:
		return letThrough
	}
	return n.sendTo(c, dst, flags, payload)
}

// sendmmsg answers sendmmsg(2) on a descriptor of the high range: all messages,
// or, if the first is for the kernel, none.
func (n *Node) sendmmsg(c Call) reply {
	count := min(int(uint32(c.Uint(2))), maxIovecs)
	for i := range count {
		at := c.Ptr(1) + uintptr(i*sizeofMmsghdr)
		m, err := readMsghdr(c, at)
		if err != nil {
			return partial(i, fail(err))
		}
		r := n.sendHeader(c, m, c.Int(3))
		if r.kind == replyValue {
			var b [4]byte
			binary.NativeEndian.PutUint32(b[:], uint32(r.value))
			if err := c.WriteMemory(at+sizeofMsghdr, b[:]); err != nil {
				return partial(i, fail(err))
			}
			continue
		}
		return partial(i, r)
	}
	return value(uintptr(count))
}

// partial is the answer of sendmmsg or recvmmsg after done messages: their
// number, or r if there are none. The program asks again for the rest.
func partial(done int, r reply) reply {
	if done > 0 {
		return value(uintptr(done))
	}
	return r
}

// recvfrom answers recvfrom(2) with an address: the program sees who sent the
// datagram. With a NULL address the filter does not trap it.
func (n *Node) recvfrom(c Call) reply {
	size := min(c.Uint(2), maxDatagram)
	return n.receive(c, c.Int(3), size, 0, func(c Call, d datagram) reply {
		if err := c.WriteMemory(c.Ptr(1), d.b[:min(d.size, len(d.b))]); err != nil {
			return fail(err)
		}
		if err := writeName(c, d.from, c.Ptr(4), c.Ptr(5)); err != nil {
			return fail(err)
		}
		return value(uintptr(d.size))
	})
}

// recvmsg answers recvmsg(2) on a descriptor of the high range.
func (n *Node) recvmsg(c Call) reply {
	m, err := readMsghdr(c, c.Ptr(1))
	if err != nil || m.name == 0 {
		return letThrough
	}
	return n.receiveHeader(c, m, c.Int(2))
}

func (n *Node) receiveHeader(c Call, m msghdr, flags int) reply {
	iov, total, err := m.iovecs(c)
	if err != nil {
		return fail(err)
	}
	return n.receive(c, flags, min(total, maxDatagram), min(m.controlLen, maxControl), func(c Call, d datagram) reply {
		if err := scatter(c, iov, d.b[:min(d.size, len(d.b))]); err != nil {
			return fail(err)
		}
		if err := c.WriteMemory(m.name, d.from[:min(len(d.from), int(m.nameLen))]); err != nil {
			return fail(err)
		}
		if err := c.WriteMemory(m.control, d.control); err != nil {
			return fail(err)
		}
		if err := m.finish(c, uint32(len(d.from)), uint64(len(d.control)), int32(d.flags)); err != nil {
			return fail(err)
		}
		return value(uintptr(d.size))
	})
}

// maxControl bounds the control data that one datagram can have, in bytes
// (optmem_max is far more, but no UDP option makes so much).
const maxControl = 4096

// recvmmsg answers recvmmsg(2) on a descriptor of the high range: the first
// message as recvmsg does, and what else is there already.
func (n *Node) recvmmsg(c Call) reply {
	count := min(int(uint32(c.Uint(2))), maxIovecs)
	flags := c.Int(3)
	const waitForOne = 0x10000 // MSG_WAITFORONE
	for i := range count {
		at := c.Ptr(1) + uintptr(i*sizeofMmsghdr)
		m, err := readMsghdr(c, at)
		if err != nil {
			return partial(i, fail(err))
		}
		if m.name == 0 {
			return partial(i, letThrough)
		}
		f := flags &^ waitForOne
		if i > 0 {
			f |= unix.MSG_DONTWAIT
		}
		r := n.receiveHeader(c, m, f)
		switch r.kind {
		case replyValue:
			if err := putMessageLen(c, at, r.value); err != nil {
				return partial(i, fail(err))
			}
		case replyWait:
			wait := r.wait
			return later(func(ctx context.Context, c Call) reply {
				r := wait(ctx, c)
				if r.kind != replyValue {
					return r
				}
				if err := putMessageLen(c, at, r.value); err != nil {
					return fail(err)
				}
				return value(1)
			})
		default:
			return partial(i, r)
		}
	}
	return value(uintptr(count))
}

// putMessageLen writes msg_len of the struct mmsghdr at an address.
func putMessageLen(c Call, at uintptr, n uintptr) error {
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(n))
	return c.WriteMemory(at+sizeofMsghdr, b[:])
}

// A datagram is what recvmsg(2) brought.
type datagram struct {
	b       []byte // as much as there was room for
	size    int    // its return value: more than b with MSG_TRUNC
	from    []byte // as it lies in memory
	control []byte
	flags   int
}

// receive takes a datagram off a UDP socket and has give hand it over. A
// blocking socket waits elsewhere.
func (n *Node) receive(c Call, flags int, room, control uint64, give func(Call, datagram) reply) reply {
	if flags&unix.MSG_ERRQUEUE != 0 || !n.dns.used() && !n.flows.used() && !n.datagramPorts.used() && !n.netlinks.used() {
		return letThrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	if _, ok, err := isUDP(fd); err != nil || !ok && !n.isNetlink(fd) {
		unix.Close(fd)
		return letThrough
	}
	r := n.receiveNow(c, fd, flags, room, control, give)
	if r.kind != replyErrno || r.errno != unix.EAGAIN || flags&unix.MSG_DONTWAIT != 0 {
		unix.Close(fd)
		return r
	}
	if nb, err := nonblocking(fd); err != nil || nb {
		unix.Close(fd)
		return r
	}
	return later(func(ctx context.Context, c Call) reply {
		defer unix.Close(fd)
		for {
			if err := waitReady(ctx, fd, unix.POLLIN, unix.SO_RCVTIMEO); err != nil {
				return fail(err)
			}
			if !c.Pending() {
				return fail(unix.EINTR)
			}
			r := n.receiveNow(c, fd, flags, room, control, give)
			if r.kind != replyErrno || r.errno != unix.EAGAIN {
				return r // else another thread was faster
			}
		}
	})
}

func (n *Node) receiveNow(c Call, fd, flags int, room, control uint64, give func(Call, datagram) reply) reply {
	buf := datagramBuffers.Get().(*[maxDatagram + 1]byte)
	defer datagramBuffers.Put(buf)
	d := datagram{b: buf[:room]}
	var oob []byte
	if control > 0 {
		oob = make([]byte, control)
	}
	size, oobn, rflags, from, err := unix.Recvmsg(fd, d.b, oob, flags&^unix.MSG_WAITALL|unix.MSG_DONTWAIT)
	if err != nil {
		return fail(err)
	}
	d.size, d.control, d.flags = size, oob[:oobn], rflags
	var name [sizeofInet6]byte
	d.from = n.appendSource(name[:0], from)
	return give(c, d)
}

// appendSource appends the address that a program sees for where a datagram came
// from.
func (n *Node) appendSource(b []byte, from unix.Sockaddr) []byte {
	if a, ok := from.(*unix.SockaddrNetlink); ok {
		if a.Pid == n.netlinks.port.Load() {
			a.Pid = 0 // the kernel
		}
		name := netlinkAddr{a.Pid, a.Groups}.encode()
		return append(b, name[:]...)
	}
	if addr, six, ok := sockaddrAddrPort(from); ok {
		return AppendSockaddr(b, n.datagramSource(Sockaddr{Addr: addr, Six: six}))
	}
	return b
}

func sockaddrAddrPort(sa unix.Sockaddr) (a netip.AddrPort, six, ok bool) {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)), false, true
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)), true, true
	}
	return netip.AddrPort{}, false, false
}
