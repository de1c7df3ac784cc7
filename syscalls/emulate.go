package syscalls

import (
	"encoding/binary"
	"errors"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"golang.org/x/sys/unix"
)

// An emulator performs calls of a traced node's programs.
type emulator struct {
	*Node
	unfinished unfinished
}

// emulators has the calls that an emulator performs, on a copy of the socket, instead of
// the kernel, so that a trace has their results. It does so only where the program sees
// no difference. It leaves to the kernel: options that take privileges, a Unix socket's
// connect (its peer sees the caller's credentials), and descriptors in messages. The
// results of such calls are not known.
var emulators = [512]func(*emulator, Call) reply{
	unix.SYS_ACCEPT:      (*emulator).accept,
	unix.SYS_ACCEPT4:     (*emulator).accept4,
	unix.SYS_CONNECT:     (*emulator).connect,
	unix.SYS_GETPEERNAME: (*emulator).name,
	unix.SYS_GETSOCKNAME: (*emulator).name,
	unix.SYS_GETSOCKOPT:  (*emulator).getsockopt,
	unix.SYS_LISTEN:      (*emulator).listen,
	unix.SYS_RECVFROM:    (*emulator).recvfrom,
	unix.SYS_RECVMSG:     (*emulator).recvmsg,
	unix.SYS_SENDMMSG:    (*emulator).sendmmsg,
	unix.SYS_SENDMSG:     (*emulator).sendmsg,
	unix.SYS_SENDTO:      (*emulator).sendto,
	unix.SYS_SETSOCKOPT:  (*emulator).setsockopt,
	unix.SYS_SHUTDOWN:    (*emulator).shutdown,
	unix.SYS_SOCKET:      (*emulator).socket,
}

// onCopy runs f with a copy of the descriptor in the call's first argument.
func onCopy(c Call, f func(fd int) reply) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	return f(fd)
}

// socket makes sockets for a program that runs as boxer's user: TCP and UDP
// sockets, and Unix sockets, which get the caller's credentials when they connect or
// listen. For other sockets it returns only errors that do not depend on privileges.
func (e *emulator) socket(c Call) reply {
	if !networkNamespace.has(c.TID()) || !sameUser(c.TID()) {
		return passthrough
	}
	domain, typ, proto := c.Int(0), c.Int(1), c.Int(2)
	kind := typ & sockTypeMask
	ours := domain == unix.AF_UNIX || isInet(domain) &&
		(kind == unix.SOCK_STREAM && (proto == 0 || proto == unix.IPPROTO_TCP) ||
			kind == unix.SOCK_DGRAM && (proto == 0 || proto == unix.IPPROTO_UDP))
	fd, err := linux.Socket(domain, typ|unix.SOCK_CLOEXEC, proto)
	switch {
	case errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES):
		return passthrough
	case err != nil:
		return fail(err)
	case !ours:
		linux.Close(fd)
		return passthrough
	}
	return descriptor(fd, typ&unix.SOCK_CLOEXEC != 0, func() { linux.Close(fd) })
}

// connect connects a TCP or UDP socket to the outside, or to the host.
func (e *emulator) connect(c Call) reply {
	return onSocket(c, func(s *progSocket) reply { return e.connectEgress(c, s) })
}

func (e *emulator) connectEgress(c Call, s *progSocket) reply {
	domain, typ, err := s.kind()
	size := c.Int(2)
	switch {
	case e.landlock.Active():
		return passthrough // the kernel asks Landlock
	case err != nil:
		return fail(err)
	case !isInet(domain) || typ != unix.SOCK_STREAM && typ != unix.SOCK_DGRAM:
		return passthrough
	case size < 0 || size > abi.SizeofSockaddrStorage:
		return fail(unix.EINVAL) // move_addr_to_kernel in net/socket.c
	}
	var buf [abi.SizeofSockaddrStorage]byte
	if err := c.ReadMemory(c.Ptr(1), buf[:size]); err != nil {
		return fail(err)
	}
	nb, err := s.nonblocking()
	if err != nil {
		return fail(err)
	}
	if nb || typ == unix.SOCK_DGRAM {
		return fail(linux.Connect(s.fd, buf[:size]))
	}
	if state, err := s.state(); err != nil || state == tcpSynSent {
		return passthrough // waits for the connect that is in progress
	}
	err = withoutWaiting(s.fd, func() error { return linux.Connect(s.fd, buf[:size]) })
	return e.finishLocal(connectCall{progSocket: s, block: true}, err)
}

// name answers getsockname(2) and getpeername(2) for sockets whose names need no
// translation.
func (e *emulator) name(c Call) reply {
	return onCopy(c, func(fd int) reply {
		var room [4]byte
		if err := c.ReadMemory(c.Ptr(2), room[:]); err != nil {
			return fail(err)
		}
		have := int(int32(binary.NativeEndian.Uint32(room[:])))
		if have < 0 {
			return fail(unix.EINVAL)
		}
		var buf [abi.SizeofSockaddrStorage]byte
		var size int
		var err error
		if c.Nr() == unix.SYS_GETPEERNAME {
			size, err = linux.Getpeername(fd, buf[:])
		} else {
			size, err = linux.Getsockname(fd, buf[:])
		}
		if err != nil {
			return fail(err)
		}
		binary.NativeEndian.PutUint32(room[:], uint32(size))
		return fail(c.WriteMemoryv(c.Ptr(1), buf[:min(have, size, len(buf))],
			c.Ptr(2), room[:]))
	})
}

// listen answers listen(2) on a socket other than TCP. The kernel performs it for
// a Unix socket, which gets the caller's credentials.
func (e *emulator) listen(c Call) reply {
	return onCopy(c, func(fd int) reply {
		domain, _, err := kind(fd)
		if err != nil {
			return fail(err)
		}
		if !isInet(domain) {
			return passthrough
		}
		return fail(unix.Listen(fd, c.Int(1)))
	})
}

// shutdown is shutdown(2).
func (e *emulator) shutdown(c Call) reply {
	return onCopy(c, func(fd int) reply { return fail(linux.Shutdown(fd, c.Int(1))) })
}

// A plainOption is a socket option without privileges, whose value has no pointers and no
// descriptors.
type plainOption struct{ level, name int }

var plainOptions = func() map[plainOption]bool {
	m := make(map[plainOption]bool)
	for level, list := range map[int][]int{
		unix.SOL_SOCKET: {unix.SO_REUSEADDR, unix.SO_TYPE, unix.SO_ERROR,
			unix.SO_DONTROUTE, unix.SO_BROADCAST, unix.SO_SNDBUF,
			unix.SO_RCVBUF, unix.SO_KEEPALIVE, unix.SO_OOBINLINE, unix.SO_LINGER,
			unix.SO_REUSEPORT, unix.SO_RCVLOWAT, unix.SO_SNDLOWAT,
			unix.SO_RCVTIMEO, unix.SO_SNDTIMEO, unix.SO_ACCEPTCONN, unix.SO_PROTOCOL,
			unix.SO_DOMAIN, unix.SO_COOKIE,
			unix.SO_INCOMING_CPU, unix.SO_TIMESTAMP, unix.SO_TIMESTAMPNS,
			unix.SO_PASSCRED},
		unix.SOL_TCP: {unix.TCP_NODELAY, unix.TCP_MAXSEG, unix.TCP_CORK,
			unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT,
			unix.TCP_SYNCNT, unix.TCP_LINGER2, unix.TCP_DEFER_ACCEPT,
			unix.TCP_WINDOW_CLAMP, unix.TCP_INFO, unix.TCP_QUICKACK,
			unix.TCP_USER_TIMEOUT, unix.TCP_FASTOPEN_CONNECT, unix.TCP_NOTSENT_LOWAT,
			unix.TCP_THIN_LINEAR_TIMEOUTS},
		unix.SOL_IP: {unix.IP_TOS, unix.IP_TTL, unix.IP_RECVERR, unix.IP_RECVTTL,
			unix.IP_RECVTOS, unix.IP_PKTINFO, unix.IP_MTU_DISCOVER,
			unix.IP_MTU, unix.IP_BIND_ADDRESS_NO_PORT, unix.IP_MULTICAST_TTL,
			unix.IP_MULTICAST_LOOP},
		unix.SOL_IPV6: {unix.IPV6_V6ONLY, unix.IPV6_UNICAST_HOPS, unix.IPV6_RECVPKTINFO,
			unix.IPV6_RECVERR, unix.IPV6_MTU_DISCOVER,
			unix.IPV6_MULTICAST_HOPS, unix.IPV6_MULTICAST_LOOP, unix.IPV6_RECVTCLASS,
			unix.IPV6_RECVHOPLIMIT},
		unix.SOL_UDP: {unix.UDP_CORK, unix.UDP_SEGMENT, unix.UDP_GRO},
	} {
		for _, name := range list {
			m[plainOption{level, name}] = true
		}
	}
	return m
}()

// sizeofInt is the size of most options, in bytes.
const sizeofInt = 4

// ownOptions are options whose value depends on the calling process, or has pointers: a
// descriptor, memory to map.
var ownOptions = map[plainOption]bool{
	{unix.SOL_SOCKET, unix.SO_PEERPIDFD}:            true,
	{unix.SOL_SOCKET, unix.SO_PEERCRED}:             true,
	{unix.SOL_SOCKET, unix.SO_PEERGROUPS}:           true,
	{unix.SOL_SOCKET, unix.SO_PEERSEC}:              true,
	{unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}:        true, // SO_GET_FILTER
	{unix.SOL_TCP, unix.TCP_ZEROCOPY_RECEIVE}:       true,
	{unix.SOL_IP, unix.IP_MSFILTER}:                 true,
	{unix.SOL_NETLINK, unix.NETLINK_GET_STRICT_CHK}: true,
}

// maxOption bounds an option's value, in bytes: tcp_info is the largest.
const maxOption = 1 << 10

func (e *emulator) setsockopt(c Call) reply {
	size := c.Int(4)
	o := plainOption{c.Int(1), c.Int(2)}
	if !plainOptions[o] || size < 0 || size > maxOption {
		return passthrough
	}
	return onCopy(c, func(fd int) reply {
		var b [maxOption]byte
		if err := c.ReadMemory(c.Ptr(3), b[:size]); err != nil {
			if size == sizeofInt {
				return fail(err)
			}
			return passthrough // the kernel reads only as much as the option needs
		}
		size := size
		if c.Compat() && timeOptions[o] && size >= abi.SizeofCompatTimeval {
			size = abi.NativeTimeval(b[:])
		}
		return fail(linux.Setsockopt(fd, o.level, o.name, b[:size]))
	})
}

func (e *emulator) getsockopt(c Call) reply {
	o := plainOption{c.Int(1), c.Int(2)}
	if !strace.IsOption(uint32(o.level), uint32(o.name)) ||
		ownOptions[o] {
		return passthrough
	}
	if c.Compat() && compatOptions[o] {
		return passthrough
	}
	return onCopy(c, func(fd int) reply {
		var room [4]byte
		if err := c.ReadMemory(c.Ptr(4), room[:]); err != nil {
			return fail(err)
		}
		size := binary.NativeEndian.Uint32(room[:])
		if size > maxOption {
			return passthrough
		}
		var b [maxOption]byte
		compatTime := c.Compat() && timeOptions[o]
		have := size
		if compatTime {
			size = maxOption
		}
		got, err := linux.Getsockopt(fd, o.level, o.name, b[:size])
		if err != nil {
			return fail(err)
		}
		if compatTime {
			got = min(int(have), abi.CompatTimeval(b[:]))
		}
		binary.NativeEndian.PutUint32(room[:], uint32(got))
		return fail(c.WriteMemoryv(c.Ptr(3), b[:min(got, maxOption)], c.Ptr(4), room[:]))
	})
}
