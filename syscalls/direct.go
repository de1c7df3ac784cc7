package syscalls

import (
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// directFlags are flags that make no difference to a datagram that is sent at once.
const directFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL | unix.MSG_CONFIRM

// sendDirect sends a datagram to a node without the flow's socket, unless the kernel is
// needed for an option of the socket. It saves a hop over loopback and a switch of
// goroutines.
func (u *udp) sendDirect(c Call, s *progSocket, flags int, dst netip.AddrPort,
	control []byte, p payload) (r reply, ok bool) {
	if flags&unix.MSG_MORE != 0 {
		u.partial.Store(true)
	}
	control, ip := cutIPFields(control, u.ipFields(s.fd, dst.Addr().Is6()))
	if len(control) > 0 || flags&^directFlags != 0 || u.Datagrams == nil ||
		!u.inNetwork(dst.Addr()) || u.isBroadcast(dst.Addr()) {
		return r, false
	}
	src, ok, err := u.directSource(s, dst.Addr())
	if err != nil || !ok {
		return fail(err), err != nil
	}
	fl, err := u.flowTo(dst, holderOf(c)) // answers come from the flow
	if err != nil {
		return fail(err), true
	}
	if fl.carrying() {
		return r, false
	}
	buf := datagramBuffers.Get().(*[maxDatagram + 1]byte)
	defer datagramBuffers.Put(buf)
	size, err := p(buf[:maxDatagram])
	if err != nil {
		return fail(err), true
	}
	src, dst = u.onTheWire(fl, src)
	u.carry(src, dst, ip, buf[:size])
	return value(uintptr(size)), true
}

// directSource returns the source address of a socket's datagrams to dst as the network
// sees it. ok is false if the kernel has to send them. An error is the socket's pending
// error, for its next call.
func (u *udp) directSource(s *progSocket, dst netip.Addr) (src netip.AddrPort, ok bool,
	err error) {
	local, _, err := s.localName()
	if err == nil && local.Addr.Port() == 0 { // as the kernel with the first datagram
		if err = u.bindHost(s, anyAddress(s.domain)); err == nil {
			local, _, err = s.localName()
		}
	}
	if err != nil {
		return src, false, nil
	}
	kernel := unmapped(local.Addr)
	switch a := kernel.Addr(); {
	case a == u.Aliases.Wildcard, a == u.Aliases.Public, a == u.Aliases.Dual,
		a == u.Aliases.Wildcard6, a == u.Aliases.Public6:
	case a.IsUnspecified():
		kernel = netip.AddrPortFrom(localhost4, kernel.Port())
	default:
		return src, false, nil
	}
	if _, ok, err := s.peerName(); err == nil && ok {
		return src, false, nil // connected: it may be shut down
	}
	// the socket joins or splits datagrams
	for _, name := range []int{udpCork, unix.UDP_SEGMENT} {
		if v, err := linux.GetsockoptInt(s.fd, unix.IPPROTO_UDP, name); err != nil || v != 0 {
			return src, false, nil
		}
	}
	if u.kernelSends(s) {
		return src, false, nil
	}
	switch v, err := linux.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR); {
	case err != nil:
		return src, false, nil
	case v != 0:
		return src, false, u.unreachables.trueError(s, unix.Errno(v)) // reading has cleared it
	}
	if err := u.show(s); err != nil {
		return src, false, nil
	}
	return u.datagramSender(dst, kernel), true, nil
}

// udpCork is UDP_CORK of include/uapi/linux/udp.h.
const udpCork = 1

// txTimestamps are the flags of SO_TIMESTAMPING that ask for the time at which a datagram
// was sent (Documentation/networking/timestamping.rst).
const txTimestamps = unix.SOF_TIMESTAMPING_TX_HARDWARE | unix.SOF_TIMESTAMPING_TX_SOFTWARE | unix.SOF_TIMESTAMPING_TX_SCHED

// kernelSends reports whether the kernel must send a socket's datagrams: it reports
// something about them, or has the first part of one (MSG_MORE, send(2)).
func (u *udp) kernelSends(s *progSocket) bool {
	if v, err := linux.GetsockoptInt(s.fd, unix.SOL_SOCKET,
		unix.SO_TIMESTAMPING); err != nil ||
		v&txTimestamps != 0 {
		return true
	}
	if !u.partial.Load() {
		return false
	}
	queued, err := unix.IoctlGetInt(s.fd, unix.SIOCOUTQ)
	return err != nil || queued > 0
}
