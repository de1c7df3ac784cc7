package syscalls

import (
	"errors"
	"net/netip"
	"os"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// listeners knows which of the node's TCP listeners exist, and announces them.
type listeners struct {
	*core
	ports     *ports
	budget    *budget
	gate      *gate                 // a listener that certainly exists
	watcher   *linux.DestroyWatcher // nil: the kernel does not report ends of sockets
	announced announcements
}

// watch removes listeners when their last reference has closed. close(2) is not
// trapped; the kernel reports the end of the socket.
func (l *listeners) watch() {
	diag, err := linux.OpenSockDiag()
	if err == nil && !answers(diag, l.gate) {
		diag.Close()
		diag, err = nil, unix.EOPNOTSUPP // a kernel without CONFIG_INET_DIAG says ENOENT
	}
	if err != nil {
		l.Logger.Debug("the kernel does not tell of listeners", "err", err)
		return
	}
	l.diag = diag
	l.ports.exists = l.connectionExists
	if l.watcher, err = linux.WatchDestroyed(unconnected, linux.TCPDestroyed,
		linux.TCP6Destroyed); err != nil {
		l.Logger.Debug("the kernel does not tell when listeners close", "err", err)
		return
	}
	l.announced.to = l.Network
	l.tasks.Go(func() {
		for {
			s, err := l.watcher.Next()
			switch {
			case errors.Is(err, os.ErrClosed):
				return
			case errors.Is(err, linux.ErrMissed):
				l.missed()
			case err != nil:
				l.Logger.Error("the kernel tells of closed listeners no more", "err", err)
				return
			default:
				l.ended(s.Cookie)
			}
		}
	})
}

// connectionExists reports whether one of the two TCP sockets of a connection exists, or
// may exist.
func (l *listeners) connectionExists(at addrPair) bool {
	for _, ends := range [...]addrPair{at, {own: at.far, far: at.own}} {
		s, found, err := l.diag.Connection(ends.own, ends.far)
		if err != nil || found && !s.Listens() {
			return true
		}
	}
	return false
}

// answers reports whether the kernel finds a listener that exists.
func answers(diag *linux.SockDiag, g *gate) bool {
	_, found, err := diag.Listener(g.addr)
	return err == nil && found
}

// unconnected is a socket filter that passes messages about sockets with a port and
// without a peer: mostly listeners. Without it, each connection of the host would wake
// the node.
var unconnected = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: linux.DiagDport},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: linux.DiagSport},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// ended removes a listener by its cookie.
func (l *listeners) ended(cookie uint64) {
	if kernel, last := l.ports.closed(cookie); last {
		l.withdraw(kernel)
	}
}

// missed asks the kernel about each known listener, after messages about closed
// sockets were lost.
func (l *listeners) missed() {
	for _, kernel := range l.ports.kernels() {
		if listens, err := l.listens(kernel); err != nil || listens {
			continue
		}
		l.withdraw(kernel)
		// A bound socket that does not listen, or not any more, still has the address.
		// Looking up a listener does not find it.
		if !inUse(kernel) {
			l.ports.gone(kernel)
		}
	}
}

// listens reports whether a socket of the node's programs accepts the connections to a
// kernel address. After it has closed, a service of the host may get the port. An error
// means that this is not known.
func (l *listeners) listens(kernel netip.AddrPort) (bool, error) {
	if l.diag == nil {
		return l.probablyListens(kernel)
	}
	m, found, err := l.diag.Listener(kernel)
	return found && l.ports.owns(kernel, m.Cookie), err
}

// probablyListens is listens for kernels without sock_diag(7). It tries to bind. If an
// address that the node never uses is taken as well, a socket of the host has the port on
// all addresses, which excludes a socket of the node.
func (l *listeners) probablyListens(kernel netip.AddrPort) (bool, error) {
	switch err := probe(unix.SOCK_STREAM, -1, kernel); {
	case err == nil:
		return false, nil
	case !errors.Is(err, unix.EADDRINUSE):
		return false, err
	case l.ports.foreign(kernel):
		return true, nil
	}
	err := probe(unix.SOCK_STREAM, -1, netip.AddrPortFrom(l.Aliases.of(unused), kernel.Port()))
	if errors.Is(err, unix.EADDRINUSE) {
		return false, nil
	}
	return err == nil, err
}

// live returns the listeners of find that accept connections now. An error means that
// this is not known for one of them, for example because boxer has no descriptors left.
// It does not mean that no program listens.
func (l *listeners) live(port uint16, addrs ...netip.Addr) (found []listener, err error) {
	for _, at := range l.ports.find(port, addrs...) {
		listens, err := l.listens(at.kernel)
		if err != nil {
			return nil, err
		}
		if listens {
			found = append(found, at)
		}
	}
	return found, nil
}

// inUse reports whether a socket has the address. It returns true if that is not known:
// only a bind that succeeds shows that the address is free.
func inUse(kernel netip.AddrPort) bool {
	return probe(unix.SOCK_STREAM, -1, kernel) != nil
}
