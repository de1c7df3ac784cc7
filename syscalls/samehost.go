package syscalls

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// sameHostNodes are other nodes on this host. The kernel carries connections to and from
// them over loopback, between aliases of both nodes.
type sameHostNodes struct {
	mu sync.RWMutex
	// nodes has the virtual addresses of each such node that this node has met, by the
	// first address of its aliases.
	nodes map[netip.Addr]struct{ v4, v6 netip.Addr }
	// ports has the port that the other node's program knows, by the kernel address of
	// its listener, where the two differ.
	ports map[netip.AddrPort]uint16
	// older has the nodes of older versions, which do not tell which of their sockets
	// connect, by their blocks.
	older map[netip.Addr]bool
}

func (s *sameHostNodes) addOlder(block netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.older == nil {
		s.older = make(map[netip.Addr]bool)
	}
	s.older[block] = true
}

func (s *sameHostNodes) isOlder(block netip.Addr) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.older[block]
}

// add records the node with the aliases of alias's block.
func (s *sameHostNodes) add(alias, node netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.nodes == nil {
		s.nodes = make(map[netip.Addr]struct{ v4, v6 netip.Addr })
		s.ports = make(map[netip.AddrPort]uint16)
	}
	known := s.nodes[blockOf(alias)]
	if node.Is4() {
		known.v4 = node
	} else {
		known.v6 = node
	}
	s.nodes[blockOf(alias)] = known
}

// addListener records the kernel address of another node's listener.
func (s *sameHostNodes) addListener(kernel, program netip.AddrPort) {
	s.add(kernel.Addr(), program.Addr())
	s.mu.Lock()
	defer s.mu.Unlock()
	if kernel.Port() == program.Port() {
		delete(s.ports, kernel)
	} else {
		s.ports[kernel] = program.Port()
	}
}

// find returns the virtual address of a kernel address, in a connection whose other end
// is at this node's alias own.
func (s *sameHostNodes) find(kernel netip.AddrPort, own netip.Addr) (netip.AddrPort, bool) {
	r, ok := roleOf(kernel.Addr())
	if !ok {
		return netip.AddrPort{}, false
	}
	if r == dual {
		r, _ = roleOf(own)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	known := s.nodes[blockOf(kernel.Addr())]
	node := known.v4
	if r&v6 != 0 {
		node = known.v6
	}
	if !node.IsValid() {
		return netip.AddrPort{}, false
	}
	if port, ok := s.ports[kernel]; ok {
		return netip.AddrPortFrom(node, port), true
	}
	return netip.AddrPortFrom(node, kernel.Port()), true
}

// ResolveLocal returns the kernel address of the listener at dst, an address of this
// node, for another node on this host. near is one of that node's aliases, src its
// virtual address, and socket the cookie of the socket that will connect, or 0 from an
// older version. It fails with ECONNREFUSED if there is no listener, and with
// EHOSTUNREACH if the connection must come over the network.
func (n *Node) ResolveLocal(near, src netip.Addr, dst netip.AddrPort,
	socket uint64) (netip.AddrPort, error) {
	if !aliasRange.Contains(near) || blockOf(near) == n.Aliases.Wildcard {
		return netip.AddrPort{}, unix.EINVAL
	}
	found, err := n.listeners.live(dst.Port(), dst.Addr(), wildcardOf(dst.Addr()))
	if err != nil {
		return netip.AddrPort{}, err
	}
	if len(found) == 0 {
		return netip.AddrPort{}, n.refuseSameHost(src, dst)
	}
	n.sameHost.add(near, src)
	if socket != 0 {
		n.vouched.note(socket, blockOf(near))
	} else {
		n.sameHost.addOlder(blockOf(near))
	}
	return found[0].kernel, nil
}
