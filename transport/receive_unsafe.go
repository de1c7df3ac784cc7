package transport

import (
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A kernelReceiver receives datagrams into buffers of its own with recvmmsg(2), and waits
// by Go's poller. golang.org/x/net would allocate an address for each datagram.
type kernelReceiver struct {
	raw   syscall.RawConn
	count int // datagrams that the last receive brought

	// try is tryReceive; a method value would allocate each time.
	try     func(fd uintptr) (done bool)
	errno   syscall.Errno
	headers [receiveBatch]mmsghdr
	vectors [receiveBatch]unix.Iovec
	names   [receiveBatch]unix.RawSockaddrInet4
	control [receiveBatch][controlSize]byte
	data    [receiveBatch][]byte
}

const (
	// receiveBatch is how many datagrams one call may return. Each may have many packets,
	// so more datagrams would only use more memory.
	receiveBatch = 8
	// maxDatagram is the largest datagram in bytes, also after the kernel has coalesced
	// several (UDP_GRO, net/ipv4/udp_offload.c).
	maxDatagram = 1 << 16
)

// mmsghdr is struct mmsghdr of recvmmsg(2).
type mmsghdr struct {
	header unix.Msghdr
	length uint32
}

func newKernelReceiver(raw syscall.RawConn) *kernelReceiver {
	k := &kernelReceiver{raw: raw}
	k.try = k.tryReceive
	for i := range k.headers {
		// The kernel allocates a page when it is first written, so a buffer that gets
		// only small packets costs one page.
		k.data[i] = make([]byte, maxDatagram)
		k.vectors[i].Base = &k.data[i][0]
		k.vectors[i].SetLen(maxDatagram)
		h := &k.headers[i].header
		h.Iov = &k.vectors[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&k.names[i]))
		h.Control = &k.control[i][0]
	}
	return k
}

// receive implements wire.
func (k *kernelReceiver) receive() (count int, err error) {
	k.count = 0
	for {
		for i := range k.headers { // the last call has overwritten them
			h := &k.headers[i].header
			h.Namelen = unix.SizeofSockaddrInet4
			h.SetControllen(controlSize)
		}
		if err := k.raw.Read(k.try); err != nil {
			return 0, err
		}
		switch k.errno {
		case 0:
			return k.count, nil
		case unix.EBADF, unix.ENOTSOCK, unix.EINVAL, unix.EFAULT, unix.ENOSYS:
			// These would repeat for ever.
			return 0, os.NewSyscallError("recvmmsg", k.errno)
		}
		// Others, such as ECONNREFUSED for a datagram sent earlier, are about one peer
		// and not about this socket.
	}
}

// tryReceive returns false if there is no datagram yet.
func (k *kernelReceiver) tryReceive(fd uintptr) bool {
	for {
		// Raw: it does not block, see kernelSender.
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, fd,
			uintptr(unsafe.Pointer(&k.headers[0])), receiveBatch, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		case 0:
			k.count = int(n)
		}
		k.errno = errno
		return true
	}
}

// datagram implements wire. The kernel cuts what it has no room for.
func (k *kernelReceiver) datagram(i int) (data, control []byte, from netip.AddrPort,
	whole bool) {
	h := &k.headers[i]
	name := &k.names[i]
	if name.Family != unix.AF_INET || h.header.Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return nil, nil, netip.AddrPort{}, false
	}
	port := (*[2]byte)(unsafe.Pointer(&name.Port)) // in network order
	from = netip.AddrPortFrom(netip.AddrFrom4(name.Addr),
		uint16(port[0])<<8|uint16(port[1]))
	return k.data[i][:h.length], k.control[i][:h.header.Controllen], from, true
}
