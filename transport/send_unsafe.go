package transport

import (
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A kernelSender is one call of sendmsg(2) that waits by Go's poller. It does not use
// net.UDPConn, as kernelReceiver does not: the runtime assumes that each system call of
// package syscall may block, and wakes its monitor, which then looks at the call every
// 20 us. On a socket that does not block, that costs more than the call.
type kernelSender struct {
	// trySend; a method value would allocate each time
	try    func(fd uintptr) (done bool)
	errno  syscall.Errno
	header unix.Msghdr
	vector unix.Iovec
	name   unix.RawSockaddrInet4
}

var kernelSenders = sync.Pool{New: func() any {
	k := &kernelSender{name: unix.RawSockaddrInet4{Family: unix.AF_INET}}
	k.try = k.trySend
	k.header.Name = (*byte)(unsafe.Pointer(&k.name))
	k.header.Namelen = unix.SizeofSockaddrInet4
	k.header.Iov = &k.vector
	k.header.SetIovlen(1)
	return k
}}

// sendMessage implements wire.send on a UDP socket.
func sendMessage(raw syscall.RawConn, b, oob []byte, to netip.AddrPort) error {
	k := kernelSenders.Get().(*kernelSender)
	defer kernelSenders.Put(k)
	k.name.Addr = to.Addr().As4()
	port := (*[2]byte)(unsafe.Pointer(&k.name.Port)) // in network order
	port[0], port[1] = byte(to.Port()>>8), byte(to.Port())
	k.vector.Base = unsafe.SliceData(b)
	k.vector.SetLen(len(b))
	k.header.Control = unsafe.SliceData(oob)
	k.header.SetControllen(len(oob))
	err := raw.Write(k.try)
	k.vector.Base, k.header.Control = nil, nil // the pool must not keep them alive
	if err == nil && k.errno != 0 {
		err = os.NewSyscallError("sendmsg", k.errno)
	}
	return err
}

// trySend returns false when the socket's buffer is full.
func (k *kernelSender) trySend(fd uintptr) bool {
	for {
		_, _, k.errno = unix.RawSyscall(unix.SYS_SENDMSG, fd,
			uintptr(unsafe.Pointer(&k.header)), unix.MSG_DONTWAIT)
		switch k.errno {
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return false
		}
		return true
	}
}
