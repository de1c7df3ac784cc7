package syscalls

import (
	"errors"
	"net/netip"
	"os"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// watchListeners makes the node forget listeners when their last reference goes.
// Close(2) is not trapped; the kernel tells of it.
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

// answers reports whether the kernel finds a listener that is there.
func answers(diag *linux.SockDiag, g *gate) bool {
	_, found, err := diag.Listener(g.addr)
	return err == nil && found
}

// unconnected is a filter that passes the messages about sockets that had a port and no
// peer, listeners above all. Otherwise each connection of the host would wake the node.
var unconnected = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: linux.DiagDport},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: linux.DiagSport},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// listenerClosed forgets a listener by its cookie.
func (n *Node) listenerClosed(cookie uint64) {
	if kernel, last := n.ports.closed(cookie); last {
		n.withdraw(kernel)
	}
}

// listenersMissed asks the kernel about each listener that is known: messages about
// closed ones were lost.
func (n *Node) listenersMissed() {
	for _, kernel := range n.ports.kernels() {
		if listens, err := n.listens(kernel); err != nil || listens {
			continue
		}
		n.withdraw(kernel)
		// A socket may be bound there and not listen yet, or not any more: it has the
		// address, which the lookup of a listener does not tell.
		if !inUse(kernel) {
			n.ports.gone(kernel)
		}
	}
}

// listens reports whether a socket of the node's programs takes the connections to a
// kernel address: once it is closed, a service of the host may have the port. An error
// says that this is not known.
func (n *Node) listens(kernel netip.AddrPort) (bool, error) {
	if n.diag == nil {
		return n.probablyListens(kernel)
	}
	m, found, err := n.diag.Listener(kernel)
	return found && n.ports.owns(kernel, m.Cookie), err
}

// probablyListens is listens where the kernel cannot be asked for the socket. It judges
// by trying to bind: if also an address that the node never uses is taken, then somebody
// has the port on all addresses of the host, which excludes a socket of the node.
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

// live returns the listeners that find does and that take connections now. An error
// says that this is not known of one of them, since boxer is out of descriptors, say:
// it does not mean that nobody listens.
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

// inUse reports whether a socket has the address, or whether that is not known: only a
// bind that succeeds says that nobody has it.
func inUse(kernel netip.AddrPort) bool {
	return probe(unix.SOCK_STREAM, -1, kernel) != nil
}
