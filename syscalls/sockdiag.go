package syscalls

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A sockDiag asks the kernel about sockets of this host (sock_diag(7)). It opens its
// descriptor when it is made, so that it can also ask when the process has no descriptor
// left. A nil *sockDiag fails every question with EOPNOTSUPP.
type sockDiag struct {
	mu  sync.Mutex
	fd  int // -1 after close
	seq uint32
	buf [1024]byte

	request [16 + 56]byte
}

func newSockDiag() (*sockDiag, error) {
	const typ = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := linux.Socket(unix.AF_NETLINK, typ, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	return &sockDiag{fd: fd}, nil
}

func (d *sockDiag) close() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd >= 0 {
		linux.Close(d.fd)
		d.fd = -1
	}
}

// loopbackIndex is LOOPBACK_IFINDEX of include/net/net_namespace.h. The lookup is one
// for a packet that came in by lo, as all packets to aliases do: it also finds sockets
// that are bound to that device.
const loopbackIndex = 1

// listener looks up the socket that a connect to an IPv4 address would reach: that may
// be one that listens on all addresses of the host. IPv6 sockets with v4-mapped
// addresses are found, too. found is false if nobody listens there. An error says that
// the kernel could not be asked, which tells nothing about the listener.
func (d *sockDiag) listener(at netip.AddrPort) (m diagMessage, found bool, err error) {
	any := netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
	m, found, err = d.connection(at, any)
	return m, found && m.state == tcpListen, err
}

// connection looks up the socket at local whose peer is at remote, both IPv4. Where
// there is none, it finds the listener at local.
func (d *sockDiag) connection(local, remote netip.AddrPort) (m diagMessage, found bool,
	err error) {
	return d.lookUp(unix.IPPROTO_TCP, local, remote)
}

// datagram looks up the UDP socket that gets a datagram from remote to local, both IPv4:
// one that is connected to remote, or one that takes datagrams of anybody. found is also
// false if the kernel has no udp_diag: see hasUDPDiag.
func (d *sockDiag) datagram(local, remote netip.AddrPort) (m diagMessage, found bool,
	err error) {
	return d.lookUp(unix.IPPROTO_UDP, local, remote)
}

func (d *sockDiag) lookUp(proto uint8, local, remote netip.AddrPort) (m diagMessage,
	found bool, err error) {
	if d == nil {
		return diagMessage{}, false, unix.EOPNOTSUPP
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.seq++
	d.request = ownerRequest(proto, local, remote)
	binary.NativeEndian.PutUint32(d.request[8:], d.seq)
	binary.NativeEndian.PutUint32(d.request[60:], loopbackIndex)
	// to the kernel, netlink(7)
	if _, err := diagIO(linux.Write, d.fd, d.request[:]); err != nil {
		return diagMessage{}, false, fmt.Errorf("sock_diag: %w", err)
	}
	for { // the kernel has answered within the write
		n, err := diagIO(linux.Read, d.fd, d.buf[:])
		if err != nil {
			return diagMessage{}, false, fmt.Errorf("sock_diag: %w", err)
		}
		if n >= unix.NLMSG_HDRLEN && binary.NativeEndian.Uint32(d.buf[8:]) == d.seq {
			return diagAnswer(d.buf[:n])
		}
	}
}

// diagIO is linux.Read or linux.Write, begun anew after a signal.
func diagIO(call func(fd int, b []byte) (int, error), fd int, b []byte) (int, error) {
	for {
		if n, err := call(fd, b); err != unix.EINTR {
			return n, err
		}
	}
}

// diagAnswer reads the answer to a request: the socket, or an errno.
func diagAnswer(b []byte) (m diagMessage, found bool, err error) {
	if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR &&
		len(b) >= unix.NLMSG_HDRLEN+4 {
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])))
		if errno == unix.ENOENT {
			return diagMessage{}, false, nil
		}
		return diagMessage{}, false, fmt.Errorf("sock_diag: %w", errno)
	}
	if m, found = parseDiag(b); !found {
		return diagMessage{}, false, fmt.Errorf("sock_diag: message type %d of %d bytes: %w",
			binary.NativeEndian.Uint16(b[4:]), len(b), unix.EPROTO)
	}
	return m, true, nil
}
