package syscalls

import (
	"net/netip"
	"slices"
	"sync"
)

// loopbacks are the loopback addresses other than 127.0.0.1 to which programs have bound
// sockets. The kernel has the sockets there, and does not know that the node's wildcards
// conflict with them.
type loopbacks struct {
	mu sync.Mutex
	m  map[uint16][]netip.Addr // by port
}

// maxLoopbacks bounds the number of ports in the table. Programs that use such addresses
// have a handful.
const maxLoopbacks = 256

func (l *loopbacks) add(a netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = make(map[uint16][]netip.Addr)
	}
	if len(l.m) < maxLoopbacks && !slices.Contains(l.m[a.Port()], a.Addr()) {
		l.m[a.Port()] = append(l.m[a.Port()], a.Addr())
	}
}

// at returns the addresses to which a port is, or was, bound.
func (l *loopbacks) at(port uint16) []netip.Addr {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m[port]
}

func (l *loopbacks) remove(a netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rest := slices.DeleteFunc(slices.Clone(l.m[a.Port()]),
		func(b netip.Addr) bool { return b == a.Addr() })
	if len(rest) == 0 {
		delete(l.m, a.Port())
	} else {
		l.m[a.Port()] = rest
	}
}

// bindLoopback binds to an address such as 127.0.0.2 in the kernel, if no wildcard of the
// node has the port.
func (b binding) bindLoopback(want netip.AddrPort) error {
	if want.Port() == 0 {
		return errLeftToKernel
	}
	for _, r := range []role{wildcard, dual} {
		taken, err := b.taken(netip.AddrPortFrom(b.Aliases.of(r), want.Port()))
		if err != nil || taken {
			return b.inUse(err)
		}
	}
	b.ports.loopbacks.add(want)
	return errLeftToKernel
}

// loopbackTaken reports whether a socket at an address such as 127.0.0.2 has the port
// that a wildcard wants.
func (b binding) loopbackTaken(r role, port uint16) (bool, error) {
	if r != wildcard && r != dual {
		return false, nil
	}
	for _, a := range b.ports.loopbacks.at(port) {
		at := netip.AddrPortFrom(a, port)
		if taken, err := b.taken(at); err != nil || taken {
			return taken, err
		}
		if probe(b.typ, -1, at) == nil {
			b.ports.loopbacks.remove(at)
		}
	}
	return false, nil
}
