package syscalls

import (
	"errors"
	"net/netip"
	"os"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// watchListeners removes listeners when their last reference has closed. close(2) is not
// trapped; the kernel reports the end of the socket.
func (n *Node) watchListeners() {
	diag, err := linux.OpenSockDiag()
	if err == nil && !answers(diag, n.gates.v4) {
		diag.Close()
		diag, err = nil, unix.EOPNOTSUPP // a kernel without CONFIG_INET_DIAG says ENOENT
	}
	if err != nil {
		n.Logger.Debug("the kernel does not tell of listeners", "err", err)
		return
	}
	n.diag = diag
	n.ports.exists = n.streamsExist
	if n.listenerWatcher, err = linux.WatchDestroyed(unconnected, linux.TCPDestroyed,
		linux.TCP6Destroyed); err != nil {
		n.Logger.Debug("the kernel does not tell when listeners close", "err", err)
		return
	}
	n.announced.to = n.Network
	n.tasks.Go(func() {
		for {
			s, err := n.listenerWatcher.Next()
			switch {
			case errors.Is(err, os.ErrClosed):
				return
			case errors.Is(err, linux.ErrMissed):
				n.listenersMissed()
			case err != nil:
				n.Logger.Error("the kernel tells of closed listeners no more", "err", err)
				return
			default:
				n.listenerClosed(s.Cookie)
			}
		}
	})
}

// streamsExist reports whether one of the two TCP sockets of a connection exists, or may
// exist.
func (n *Node) streamsExist(at addrPair) bool {
	for _, ends := range [...]addrPair{at, {own: at.far, far: at.own}} {
		s, found, err := n.diag.Connection(ends.own, ends.far)
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

// listenerClosed removes a listener by its cookie.
func (n *Node) listenerClosed(cookie uint64) {
	if kernel, last := n.ports.closed(cookie); last {
		n.withdraw(kernel)
	}
}

// listenersMissed asks the kernel about each known listener, after messages about closed
// sockets were lost.
func (n *Node) listenersMissed() {
	for _, kernel := range n.ports.kernels() {
		if listens, err := n.listens(kernel); err != nil || listens {
			continue
		}
		n.withdraw(kernel)
		// A bound socket that does not listen, or not any more, still has the address.
		// Looking up a listener does not find it.
		if !inUse(kernel) {
			n.ports.gone(kernel)
		}
	}
}

// listens reports whether a socket of the node's programs accepts the connections to a
// kernel address. After it has closed, a service of the host may get the port. An error
// means that this is not known.
func (n *Node) listens(kernel netip.AddrPort) (bool, error) {
	if n.diag == nil {
		return n.probablyListens(kernel)
	}
	m, found, err := n.diag.Listener(kernel)
	return found && n.ports.owns(kernel, m.Cookie), err
}

// probablyListens is listens for kernels without sock_diag(7). It tries to bind. If an
// address that the node never uses is taken as well, a socket of the host has the port on
// all addresses, which excludes a socket of the node.
func (n *Node) probablyListens(kernel netip.AddrPort) (bool, error) {
	switch err := probe(unix.SOCK_STREAM, -1, kernel); {
	case err == nil:
		return false, nil
	case !errors.Is(err, unix.EADDRINUSE):
		return false, err
	case n.ports.foreign(kernel):
		return true, nil
	}
	err := probe(unix.SOCK_STREAM, -1, netip.AddrPortFrom(n.Aliases.of(unused), kernel.Port()))
	if errors.Is(err, unix.EADDRINUSE) {
		return false, nil
	}
	return err == nil, err
}

// live returns the listeners of find that accept connections now. An error means that
// this is not known for one of them, for example because boxer has no descriptors left.
// It does not mean that no program listens.
func (n *Node) live(port uint16, addrs ...netip.Addr) (found []listener, err error) {
	for _, l := range n.ports.find(port, addrs...) {
		listens, err := n.listens(l.kernel)
		if err != nil {
			return nil, err
		}
		if listens {
			found = append(found, l)
		}
	}
	return found, nil
}

// inUse reports whether a socket has the address. It returns true if that is not known:
// only a bind that succeeds shows that the address is free.
func inUse(kernel netip.AddrPort) bool {
	return probe(unix.SOCK_STREAM, -1, kernel) != nil
}
