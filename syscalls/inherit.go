package syscalls

import (
	"bytes"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// soBufLock is SO_BUF_LOCK of include/uapi/asm-generic/socket.h (Linux 5.16): which of
// its buffers' sizes the program has set.
const soBufLock = 72

// Bits of SO_BUF_LOCK, from include/uapi/linux/socket.h.
const (
	sndbufLock = 1 << iota
	rcvbufLock
)

// A sockOption is the level and the name of one of getsockopt(2)'s.
type sockOption struct{ level, name int }

// inheritedOptions are the options that an accepted socket has from its listener
// (sk_clone_lock in net/core/sock.c), besides the sizes of buffers.
var inheritedOptions = []sockOption{
	{unix.SOL_SOCKET, unix.SO_REUSEADDR}, {unix.SOL_SOCKET, unix.SO_REUSEPORT},
	{unix.SOL_SOCKET, unix.SO_KEEPALIVE}, {unix.SOL_SOCKET, unix.SO_LINGER},
	{unix.SOL_SOCKET, unix.SO_OOBINLINE}, {unix.SOL_SOCKET, unix.SO_PRIORITY},
	{unix.SOL_SOCKET, unix.SO_RCVLOWAT}, {unix.SOL_SOCKET, unix.SO_RCVTIMEO},
	{unix.SOL_SOCKET, unix.SO_SNDTIMEO}, {unix.SOL_SOCKET, unix.SO_TIMESTAMP},
	{unix.IPPROTO_TCP, unix.TCP_NODELAY}, {unix.IPPROTO_TCP, unix.TCP_CORK},
	{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL},
	{unix.IPPROTO_TCP, unix.TCP_KEEPCNT}, {unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT},
	{unix.IPPROTO_TCP, unix.TCP_LINGER2}, {unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT},
	{unix.IPPROTO_TCP, unix.TCP_CONGESTION}, {unix.IPPROTO_IP, unix.IP_TOS},
	{unix.IPPROTO_IP, unix.IP_TTL}, {unix.IPPROTO_IP, unix.IP_MINTTL},
	{unix.IPPROTO_IP, unix.IP_MTU_DISCOVER}, {unix.IPPROTO_IPV6, unix.IPV6_TCLASS},
	{unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS}, {unix.IPPROTO_IPV6, unix.IPV6_RECVERR},
}

// inheritOptions gives a socket the options of another one that a listener has made. What
// the kernel refuses stays as it is.
func inheritOptions(to, from int) {
	for _, o := range inheritedOptions {
		var a, b [32]byte
		n, err := linux.Getsockopt(from, o.level, o.name, a[:])
		if err != nil {
			continue
		}
		if m, err := linux.Getsockopt(to, o.level, o.name, b[:]); err == nil &&
			bytes.Equal(a[:n], b[:m]) {
			continue
		}
		linux.Setsockopt(to, o.level, o.name, a[:n])
	}
	locks, err := linux.GetsockoptInt(from, unix.SOL_SOCKET, soBufLock)
	if err != nil {
		return
	}
	for _, b := range []struct{ lock, name int }{{sndbufLock, unix.SO_SNDBUF},
		{rcvbufLock, unix.SO_RCVBUF}} {
		if size, err := linux.GetsockoptInt(from, unix.SOL_SOCKET, b.name); err == nil &&
			locks&b.lock != 0 {
			linux.SetsockoptInt(to, unix.SOL_SOCKET, b.name, size/2) // which it doubles
		}
	}
}
