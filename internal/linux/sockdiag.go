package linux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNoSockDiag means that the kernel cannot be asked about sockets of a protocol: it
// lacks sock_diag(7), or the host refuses it.
var ErrNoSockDiag = errors.New("sock_diag is not available")

// A SockDiag asks the kernel about sockets of this network namespace (sock_diag(7)). It
// keeps one descriptor for its life, so that it can also ask when the process has reached
// its limit of descriptors. A nil *SockDiag fails every question with ErrNoSockDiag.
type SockDiag struct {
	udp bool // the kernel has udp_diag

	mu  sync.Mutex
	fd  int // -1 after Close
	seq uint32
	buf [dumpSize]byte

	request [requestSize]byte
}

const (
	requestSize = 16 + 56 // struct nlmsghdr and struct inet_diag_req_v2
	// dumpSize is what one read of a dump takes, in bytes. The kernel sends up to so much
	// at once (NLMSG_GOODSIZE of include/linux/netlink.h).
	dumpSize = 8192
)

// OpenSockDiag opens a descriptor for questions.
func OpenSockDiag() (*SockDiag, error) {
	const typ = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := Socket(unix.AF_NETLINK, typ, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", refused(err))
	}
	d := &SockDiag{fd: fd}
	d.udp = d.findsUDP()
	return d, nil
}

// Close closes the descriptor. Questions fail with EBADF from then on.
func (d *SockDiag) Close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd >= 0 {
		Close(d.fd)
		d.fd = -1
	}
}

// HasUDP reports whether the kernel has udp_diag, so that [SockDiag.Datagram] can be
// asked.
func (d *SockDiag) HasUDP() bool { return d != nil && d.udp }

// findsUDP looks up a UDP socket that exists. A kernel without udp_diag answers ENOENT,
// as for a socket that does not exist (inet_diag_lock_handler in net/ipv4/inet_diag.c).
func (d *SockDiag) findsUDP() bool {
	fd, err := Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer Close(fd)
	if unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) != nil {
		return false
	}
	sa, err := unix.Getsockname(fd)
	in, ok := sa.(*unix.SockaddrInet4)
	if err != nil || !ok {
		return false
	}
	at := netip.AddrPortFrom(netip.AddrFrom4(in.Addr), uint16(in.Port))
	_, found, err := d.lookUp(unix.IPPROTO_UDP, at, at)
	return found && err == nil
}

// Listener looks up the socket that a connect to an IPv4 address would reach: that may
// be one that listens on all addresses of the host. IPv6 sockets with v4-mapped
// addresses are found, too. found is false if nobody listens there. An error says that
// the kernel could not be asked, which tells nothing about the listener.
func (d *SockDiag) Listener(at netip.AddrPort) (s DiagSocket, found bool, err error) {
	any := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	s, found, err = d.Connection(at, any)
	return s, found && s.Listens(), err
}

// Connection looks up the socket at local whose peer is at remote, both IPv4. Where
// there is none, it finds the listener at local.
func (d *SockDiag) Connection(local, remote netip.AddrPort) (s DiagSocket, found bool,
	err error) {
	return d.lookUp(unix.IPPROTO_TCP, local, remote)
}

// Datagram looks up the UDP socket that gets a datagram from remote to local, both IPv4:
// one that is connected to remote, or one that takes datagrams of anybody. It fails with
// ErrNoSockDiag if the kernel has no udp_diag.
func (d *SockDiag) Datagram(local, remote netip.AddrPort) (s DiagSocket, found bool,
	err error) {
	if d != nil && !d.udp {
		return DiagSocket{}, false, ErrNoSockDiag
	}
	return d.lookUp(unix.IPPROTO_UDP, local, remote)
}

func (d *SockDiag) lookUp(proto uint8, local, remote netip.AddrPort) (s DiagSocket,
	found bool, err error) {
	if d == nil {
		return DiagSocket{}, false, ErrNoSockDiag
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.request = diagRequest(proto, local, remote)
	if err := d.askLocked(); err != nil {
		return DiagSocket{}, false, err
	}
	for { // the kernel has answered within the write
		b, err := d.readLocked()
		if err != nil {
			return DiagSocket{}, false, err
		}
		if binary.NativeEndian.Uint32(b[8:]) == d.seq {
			return diagAnswer(b)
		}
	}
}

// askLocked sends the request to the kernel, under a sequence number of its own.
func (d *SockDiag) askLocked() error {
	d.seq++
	binary.NativeEndian.PutUint32(d.request[8:], d.seq)
	if _, err := untilDone(Write, d.fd, d.request[:]); err != nil {
		return fmt.Errorf("sock_diag: %w", refused(err))
	}
	return nil
}

// readLocked reads one datagram of the kernel's, which begins with struct nlmsghdr.
func (d *SockDiag) readLocked() ([]byte, error) {
	for {
		n, err := untilDone(Read, d.fd, d.buf[:])
		if err != nil {
			return nil, fmt.Errorf("sock_diag: %w", err)
		}
		if n >= unix.NLMSG_HDRLEN {
			return d.buf[:n], nil
		}
	}
}

// untilDone calls Read or Write again after a signal.
func untilDone(call func(fd int, b []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		if n, err := call(fd, b); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// diagAnswer reads the answer to a request: the socket, or an errno.
func diagAnswer(b []byte) (s DiagSocket, found bool, err error) {
	if errno, is := netlinkErrno(b); is {
		if errno == unix.ENOENT {
			return DiagSocket{}, false, nil
		}
		return DiagSocket{}, false, fmt.Errorf("sock_diag: %w", refused(errno))
	}
	if s, found = parseDiag(b); !found {
		return DiagSocket{}, false, fmt.Errorf("sock_diag: message type %d of %d bytes: %w",
			binary.NativeEndian.Uint16(b[4:]), len(b), unix.EPROTO)
	}
	return s, true, nil
}

// netlinkErrno returns the errno of struct nlmsgerr, if a message is one (netlink(7)).
func netlinkErrno(b []byte) (errno unix.Errno, is bool) {
	if len(b) < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(b[4:]) != unix.NLMSG_ERROR {
		return 0, false
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:]))), true
}

// refused adds ErrNoSockDiag to an errno that says that the kernel lacks sock_diag(7), or
// that the host refuses it.
func refused(err error) error {
	for _, errno := range [...]unix.Errno{unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT,
		unix.EOPNOTSUPP, unix.EPERM, unix.EACCES, unix.EINVAL} {
		if errors.Is(err, errno) {
			return errors.Join(err, ErrNoSockDiag)
		}
	}
	return err
}

// UDPCookies returns the cookies of all UDP sockets that have a port, of both families.
func (d *SockDiag) UDPCookies() (map[uint64]bool, error) {
	if !d.HasUDP() {
		return nil, ErrNoSockDiag
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	cookies := make(map[uint64]bool)
	for _, family := range [...]byte{unix.AF_INET, unix.AF_INET6} {
		d.request = diagRequest(unix.IPPROTO_UDP, netip.AddrPort{}, netip.AddrPort{})
		binary.NativeEndian.PutUint16(d.request[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
		binary.NativeEndian.PutUint32(d.request[60:], 0) // on any device
		d.request[16] = family
		if err := d.dumpLocked(func(s DiagSocket) { cookies[s.Cookie] = true }); err != nil {
			return nil, err
		}
	}
	return cookies, nil
}

// dumpLocked sends the request and hands each socket of the answer to each.
func (d *SockDiag) dumpLocked(each func(DiagSocket)) error {
	if err := d.askLocked(); err != nil {
		return err
	}
	for {
		b, err := d.readLocked()
		if err != nil {
			return err
		}
		for len(b) >= unix.NLMSG_HDRLEN {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				return fmt.Errorf("sock_diag: message of %d bytes: %w", size, unix.EPROTO)
			}
			m := b[:size]
			b = b[min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1)):]
			if binary.NativeEndian.Uint32(m[8:]) != d.seq {
				continue // of an earlier question
			}
			if binary.NativeEndian.Uint16(m[4:]) == unix.NLMSG_DONE {
				return nil
			}
			if errno, is := netlinkErrno(m); is {
				return fmt.Errorf("sock_diag: %w", refused(errno))
			}
			if s, ok := parseDiag(m); ok {
				each(s)
			}
		}
	}
}
