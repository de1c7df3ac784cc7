package syscalls

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// TCP states of include/net/tcp_states.h that decide what a call means.
const (
	tcpEstablished = 1
	tcpSynSent     = 2
	tcpSynRecv     = 3
	tcpFinWait1    = 4
	tcpClose       = 7
	tcpListen      = 10
	tcpClosing     = 11
)

// localName and remoteName return a socket's own and its peer's address as the
// kernel knows them. ok is false for families other than AF_INET and AF_INET6.
func localName(fd int) (s abi.Sockaddr, ok bool, err error) {
	var buf [abi.SizeofSockaddrStorage]byte
	size, err := linux.Getsockname(fd, buf[:])
	return parseName(buf[:], size, err)
}
func remoteName(fd int) (s abi.Sockaddr, ok bool, err error) {
	var buf [abi.SizeofSockaddrStorage]byte
	size, err := linux.Getpeername(fd, buf[:])
	return parseName(buf[:], size, err)
}

func parseName(buf []byte, size int, err error) (abi.Sockaddr, bool, error) {
	if err != nil {
		return abi.Sockaddr{}, false, err
	}
	s, err := abi.ParseSockaddr(buf[:min(size, len(buf))])
	// others are AF_UNIX, AF_NETLINK and the like
	return s, err == nil, nil
}

// kind returns a socket's domain, and its type without flags. It fails with ENOTSOCK for
// other descriptors.
func kind(fd int) (domain, typ int, err error) {
	if domain, err = linux.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil {
		return 0, 0, err
	}
	typ, err = linux.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
	return domain, typ, err
}

func isInet(domain int) bool { return domain == unix.AF_INET || domain == unix.AF_INET6 }

// tcpState returns the socket's state, as in tcp_states.h.
func tcpState(fd int) (int, error) {
	var b [1]byte // tcpi_state is the first byte of struct tcp_info (tcp(7))
	_, err := linux.Getsockopt(fd, unix.IPPROTO_TCP, unix.TCP_INFO, b[:])
	return int(b[0]), err
}

// nonblockMu is held while withoutWaiting changes O_NONBLOCK of a program's socket.
var nonblockMu sync.Mutex

func nonblocking(fd int) (bool, error) {
	nonblockMu.Lock()
	defer nonblockMu.Unlock()
	flags, err := linux.Fcntl(fd, unix.F_GETFL, 0)
	return flags&unix.O_NONBLOCK != 0, err
}

// cookie returns a socket's cookie, which identifies the socket whatever descriptors
// refer to it (SO_COOKIE, socket(7)).
func cookie(fd int) (uint64, error) {
	return linux.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
}

// clearError clears the socket's pending error (sk_err).
func clearError(fd int) { linux.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR) }

// kernelSockaddr returns addr in the form that a socket of the given domain accepts:
// v4-mapped on AF_INET6.
func kernelSockaddr(domain int, addr netip.AddrPort) unix.Sockaddr {
	if domain == unix.AF_INET6 {
		return &unix.SockaddrInet6{Port: int(addr.Port()), Addr: addr.Addr().As16()}
	}
	return &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().Unmap().As4()}
}

// v6only reports whether IPV6_V6ONLY is set in the kernel.
func v6only(fd, domain int) (bool, error) {
	if domain != unix.AF_INET6 {
		return false, nil
	}
	only, err := linux.GetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY)
	return only != 0, err
}

// mappable lets a socket use v4-mapped addresses, which are the aliases of AF_INET6
// sockets. It fails with EINVAL if the socket is bound.
func mappable(fd, domain int) error {
	if domain != unix.AF_INET6 {
		return nil
	}
	return linux.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 0)
}

// connectNow starts a connect without waiting for its end, on blocking sockets
// too.
func connectNow(fd, domain int, addr netip.AddrPort) error {
	return withoutWaiting(fd, func() error { return connectTo(fd, domain, addr) })
}

// withoutWaiting makes a call as on a non-blocking socket. O_NONBLOCK belongs to the open
// file description, which the program shares. It is set for the few microseconds of the
// call, while the socket is not connected and the program can do nothing else with it.
// Two concurrent callers could clear the flag for each other. connect(2) would then
// block, and on the receiving goroutine that would stop all answers.
func withoutWaiting(fd int, call func() error) error {
	nonblockMu.Lock()
	defer nonblockMu.Unlock()
	flags, err := linux.Fcntl(fd, unix.F_GETFL, 0)
	if err != nil {
		return err
	}
	if flags&unix.O_NONBLOCK == 0 {
		if _, err := linux.Fcntl(fd, unix.F_SETFL, flags|unix.O_NONBLOCK); err != nil {
			return err
		}
		defer linux.Fcntl(fd, unix.F_SETFL, flags)
	}
	return call()
}

// timeout reads SO_RCVTIMEO or SO_SNDTIMEO; 0 is none.
func timeout(fd, opt int) (unix.Timeval, error) {
	tv, err := unix.GetsockoptTimeval(fd, unix.SOL_SOCKET, opt)
	if err != nil {
		return unix.Timeval{}, err
	}
	return *tv, nil
}

// bindTo and connectTo call bind(2) and connect(2) with an address in the form of the
// socket's domain, see kernelSockaddr. The socket must not be waiting for a connect.
func bindTo(fd, domain int, addr netip.AddrPort) error {
	probes.RLock()
	defer probes.RUnlock()
	return bindUnlocked(fd, domain, addr)
}

// bindUnlocked is bindTo for callers that hold probes.
func bindUnlocked(fd, domain int, addr netip.AddrPort) error {
	var room [abi.SizeofSockaddrInet6]byte
	return linux.Bind(fd, abi.AppendSockaddr(room[:0],
		abi.Sockaddr{Addr: addr, V6: domain == unix.AF_INET6}))
}
func connectTo(fd, domain int, addr netip.AddrPort) error {
	var room [abi.SizeofSockaddrInet6]byte
	return linux.Connect(fd, abi.AppendSockaddr(room[:0],
		abi.Sockaddr{Addr: addr, V6: domain == unix.AF_INET6}))
}
