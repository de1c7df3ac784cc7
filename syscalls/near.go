package syscalls

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// neighbours are nodes on the same host. Connections to and from them are the
// kernel's own, over loopback: their ends have the aliases of both nodes.
type neighbours struct {
	mu sync.RWMutex
	// nodes has the virtual address of each, by the first address of its aliases.
	nodes map[netip.Addr]netip.Addr
	// ports has the port that a neighbour's program knows, by the kernel address
	// of its listener, where the two differ.
	ports map[netip.AddrPort]uint16
}

// add notes that a node has the aliases that alias is one of.
func (s *neighbours) add(alias, node netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes == nil {
		s.nodes = make(map[netip.Addr]netip.Addr)
		s.ports = make(map[netip.AddrPort]uint16)
	}
	s.nodes[blockOf(alias)] = node
}

// addListener notes where a neighbour's listener is.
func (s *neighbours) addListener(kernel, program netip.AddrPort) {
	s.add(kernel.Addr(), program.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	if kernel.Port() == program.Port() {
		delete(s.ports, kernel)
	} else {
		s.ports[kernel] = program.Port()
	}
}

// find returns the virtual address that a kernel address belongs to.
func (s *neighbours) find(kernel netip.AddrPort) (netip.AddrPort, bool) {
	if !kernel.Addr().Is4() {
		return netip.AddrPort{}, false
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	node, ok := s.nodes[blockOf(kernel.Addr())]
	if !ok {
		return netip.AddrPort{}, false
	}
	if port, ok := s.ports[kernel]; ok {
		return netip.AddrPortFrom(node, port), true
	}
	return netip.AddrPortFrom(node, kernel.Port()), true
}

// locateWithin bounds how long a non-blocking connect waits for a neighbour's
// word. It takes some 100 us. A neighbour that is slower, since it is stopped
// or this is the first time, is connected to as if it were far away.
const locateWithin = 20 * time.Millisecond

// connectNear connects to another node on this host. The program's thread waits
// for the neighbour's word, on non-blocking sockets too: the socket cannot be
// on its way to the gate and then go elsewhere. It owns fd.
func (n *Node) connectNear(fd, domain int, block bool, dst netip.AddrPort) (reply, bool) {
	return later(func(ctx context.Context, c Call) reply {
		asking := ctx
		if !block {
			var cancel context.CancelFunc
			asking, cancel = context.WithTimeout(ctx, locateWithin)
			defer cancel()
		}
		kernel, err := n.Network.Locate(asking, n.Aliases.Public, dst)
		var r reply
		var keep bool
		switch {
		case err == nil:
			n.neighbours.addListener(kernel, dst)
			r, keep = n.connectLocal(fd, domain, n.Aliases.Public, []listener{{dst, kernel}}, n.gate.closed)
			if n.tracing.Load() != nil {
				r.ends, _ = n.socketEnds(fd)
			}
		case Errno(err) == unix.ECONNREFUSED:
			r, keep = n.connectLocal(fd, domain, n.Aliases.Public, nil, n.gate.closed)
		case ctx.Err() != nil:
			r = fail(unix.EINTR)
		default:
			r, keep = n.connectFar(fd, domain, block, dst)
		}
		if !keep {
			unix.Close(fd)
		}
		if r.kind == replyWait {
			ends := r.ends
			r = r.wait(ctx, c)
			r.ends = ends
		}
		return r
	}), true
}

// Locate tells a neighbour where the listener on port is. near is one of its
// aliases, src its virtual address. It fails with ECONNREFUSED if there is none.
func (n *Node) Locate(near, src netip.Addr, port uint16) (netip.AddrPort, error) {
	if !aliasRange.Contains(near) || blockOf(near) == n.Aliases.Wildcard {
		return netip.AddrPort{}, unix.EINVAL
	}
	for _, l := range n.ports.find(port, n.Addr, netip.IPv4Unspecified()) {
		if !inUse(l.kernel) {
			n.ports.refused(l.program, l.kernel)
			continue
		}
		n.neighbours.add(near, src)
		return l.kernel, nil
	}
	return netip.AddrPort{}, unix.ECONNREFUSED
}

// inUse reports whether a socket still has the address: the port of one
// that is closed might be the host's own by now. The kernel judges by trying.
func inUse(kernel netip.AddrPort) bool {
	return probe(unix.SOCK_STREAM, -1, kernel) == unix.EADDRINUSE
}
