package syscalls

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// getsockname answers getsockname(2) with the address that the program thinks
// it has.
func (n *Node) getsockname(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer closeFD(fd)
	local, ok, err := localName(fd)
	if err != nil {
		return fail(err)
	}
	if !ok && n.isNetlink(fd) {
		return n.netlinkName(c, fd, false)
	}
	if !ok {
		return letThrough
	}
	var peer abi.Sockaddr
	switch local.Addr.Addr().Unmap() {
	case n.Aliases.Wildcard, n.Aliases.Wildcard6, n.Aliases.Dual, n.Aliases.Ping,
		n.Aliases.Ping6, localhost4:
		// only there it makes a difference
		if p, ok, err := remoteName(fd); err == nil && ok {
			peer = p
		}
	}
	name := n.localIn(n.portsOf(fd), local, peer)
	if name == local {
		name = n.egressName(fd, local)
	}
	return fail(writeSockaddr(c, name, c.Ptr(1), c.Ptr(2)))
}

// portsOf returns the table that knows a socket's ports.
func (n *Node) portsOf(fd int) *ports {
	if n.datagramPorts.empty() {
		return &n.ports
	}
	if typ, err := getsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE); err == nil &&
		typ == unix.SOCK_DGRAM {
		return &n.datagramPorts
	}
	return &n.ports
}

// getpeername answers getpeername(2).
func (n *Node) getpeername(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer closeFD(fd)
	peer, ok, err := remoteName(fd)
	if err != nil {
		return fail(err)
	}
	if !ok && n.isNetlink(fd) {
		return n.netlinkName(c, fd, true)
	}
	if !ok {
		return letThrough
	}
	local, _, err := localName(fd)
	if err != nil {
		return fail(err)
	}
	// of a ping socket
	if peer, ok = n.remoteIn(n.portsOf(fd), local, peer); !ok || peer.Addr.Port() == 0 {
		return fail(unix.ENOTCONN)
	}
	return fail(writeSockaddr(c, peer, c.Ptr(1), c.Ptr(2)))
}

// onlySix answers getsockopt(IPPROTO_IPV6, IPV6_V6ONLY), which is cleared on
// sockets at an alias. bind(2) to an IPv6 address sets it (__inet6_bind in
// net/ipv6/af_inet6.c).
func (n *Node) onlySix(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer closeFD(fd)
	local, ok, err := localName(fd)
	if err != nil || !ok {
		return letThrough
	}
	switch local.Addr.Addr().Unmap() {
	case n.Aliases.Wildcard6, n.Aliases.Public6, n.Aliases.Private6:
	default:
		return letThrough
	}
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], 1)
	return fail(writeOption(c, b[:], 0, c.Ptr(3), c.Ptr(4)))
}

// socketError answers getsockopt(SOL_SOCKET, SO_ERROR), which reads and clears
// the error of a redirected connect.
func (n *Node) socketError(c Call) reply {
	if n.absents.count.Load() > 0 {
		if r := n.datagramError(c); r.kind != replyContinue {
			return r
		}
	}
	if n.attempts.empty() {
		return letThrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer closeFD(fd)
	id, err := cookie(fd)
	if err != nil {
		return letThrough // not a socket: the kernel says so
	}
	errno, ok := n.attempts.takeError(id)
	if !ok {
		return letThrough
	}
	clearError(fd) // the ECONNRESET of the gate's refusal
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(errno))
	return fail(writeOption(c, b[:], 0, c.Ptr(3), c.Ptr(4)))
}

// writeOption stores the value of a socket option as getsockopt(2) does: at most
// *size bytes at addr, and how many they were in *size. It fails with EINVAL if *size is
// less than least.
func writeOption(c Call, v []byte, least int, addr, size uintptr) error {
	var room [4]byte
	if err := c.ReadMemory(size, room[:]); err != nil {
		return err
	}
	n := int(int32(binary.NativeEndian.Uint32(room[:])))
	if n < least {
		return unix.EINVAL
	}
	n = min(n, len(v))
	if err := c.WriteMemory(addr, v[:n]); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(room[:], uint32(n))
	return c.WriteMemory(size, room[:])
}
