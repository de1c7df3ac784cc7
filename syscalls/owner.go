package syscalls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// More offsets into struct inet_diag_msg of linux/inet_diag.h, behind struct nlmsghdr.
const (
	diagCookie = 16 + 44 // 8 bytes
	diagUID    = 16 + 64
	diagInode  = 16 + 68
)

// errNoDiag means that the kernel has no sock_diag(7) for a protocol.
var errNoDiag = errors.New("sock_diag is not available")

// An owner is what the kernel says about who has a socket.
type owner struct {
	cookie uint64 // SO_COOKIE, which no other socket ever gets
	uid    uint32 // the user who made the socket
	inode  uint32 // as in /proc/PID/fd
}

// socketOwner asks the kernel for the socket of this network namespace that has the IPv4
// address local and sends to remote from there: one that is connected to remote, or one
// that takes datagrams of anybody. IPv6 sockets with v4-mapped addresses count. proto is
// IPPROTO_UDP or IPPROTO_TCP. The error wraps errNoDiag if the kernel cannot tell, and
// ENOENT if there is no such socket.
func socketOwner(proto uint8, local, remote netip.AddrPort) (owner, error) {
	fd, err := linux.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.NETLINK_SOCK_DIAG)

	if err != nil {
		return owner{}, fmt.Errorf("owner of %v: %w", local,
			errors.Join(err, noDiag(err)))
	}
	defer linux.Close(fd)
	o, err := askOwner(fd, proto, local, remote)
	if errors.Is(err, unix.ENOENT) && proto == unix.IPPROTO_UDP && !hasUDPDiag() {
		err = errNoDiag
	}
	if err != nil {
		return owner{}, fmt.Errorf("owner of %v: %w", local, err)
	}
	return o, nil
}

// askOwner is socketOwner on a socket of NETLINK_SOCK_DIAG.
func askOwner(fd int, proto uint8, local, remote netip.AddrPort) (owner, error) {
	q := ownerRequest(proto, local, remote)
	if err := unix.Sendto(fd, q[:], 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return owner{}, errors.Join(err, noDiag(err))
	}
	var answer [1024]byte // it is there: the kernel answers within the send
	n, err := unix.Read(fd, answer[:])
	if err != nil {
		return owner{}, err
	}
	return parseOwner(answer[:n])
}

// hasUDPDiag reports whether the kernel has udp_diag. One without it answers ENOENT, as
// for a socket that does not exist (inet_diag_lock_handler in net/ipv4/inet_diag.c), so
// this asks for a socket that does.
var hasUDPDiag = sync.OnceValue(func() bool {
	fd, err := linux.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer linux.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: localhost4.As4()}); err != nil {
		return false
	}
	local, _, err := localName(fd)
	if err != nil {
		return false
	}
	asking, err := linux.Socket(unix.AF_NETLINK,
		unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_SOCK_DIAG)

	if err != nil {
		return false
	}
	defer linux.Close(asking)
	_, err = askOwner(asking, unix.IPPROTO_UDP, local.Addr, local.Addr)
	return err == nil
})

// ownerRequest returns struct nlmsghdr and struct inet_diag_req_v2 for one socket.
func ownerRequest(proto uint8, local, remote netip.AddrPort) (q [16 + 56]byte) {
	if proto == unix.IPPROTO_UDP { // udp_dump_one of net/ipv4/udp_diag.c has them swapped
		local, remote = remote, local
	}
	binary.NativeEndian.PutUint32(q[0:], uint32(len(q)))
	binary.NativeEndian.PutUint16(q[4:], sockDiagByFamily)
	binary.NativeEndian.PutUint16(q[6:], unix.NLM_F_REQUEST)
	q[16], q[17] = unix.AF_INET, proto
	binary.NativeEndian.PutUint32(q[20:], ^uint32(0)) // every state
	binary.BigEndian.PutUint16(q[24:], local.Port())
	binary.BigEndian.PutUint16(q[26:], remote.Port())
	copy(q[28:], local.Addr().AsSlice())
	copy(q[44:], remote.Addr().AsSlice())
	for i := 64; i < len(q); i++ {
		q[i] = 0xff // no cookie
	}
	return q
}

// parseOwner reads the answer to ownerRequest: an inet_diag_msg, or an error.
func parseOwner(b []byte) (owner, error) {
	const errorSize = 16 + 4 // struct nlmsgerr begins with the errno
	if len(b) >= errorSize && binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_ERROR {
		err := unix.Errno(-int32(binary.NativeEndian.Uint32(b[16:])))
		return owner{}, errors.Join(err, noDiag(err))
	}
	if len(b) < diagMsgSize || binary.NativeEndian.Uint16(b[4:]) != sockDiagByFamily {
		return owner{}, unix.EBADMSG
	}
	return owner{
		cookie: binary.NativeEndian.Uint64(b[diagCookie:]),
		uid:    binary.NativeEndian.Uint32(b[diagUID:]),
		inode:  binary.NativeEndian.Uint32(b[diagInode:]),
	}, nil
}

// noDiag returns errNoDiag if an errno says that the kernel lacks sock_diag(7), or has it
// and refuses it, and nil otherwise.
func noDiag(err error) error {
	switch err {
	case unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT, unix.EOPNOTSUPP, unix.EPERM,
		unix.EACCES, unix.EINVAL:
		return errNoDiag
	}
	return nil
}
