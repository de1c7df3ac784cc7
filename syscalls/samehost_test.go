package syscalls

import (
	"context"
	"net/netip"

	"golang.org/x/sys/unix"
)

// SameHost implements Network: the nodes of a fakeNet are on one host only if it says so.
func (f *fakeNet) SameHost(netip.Addr) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sameHost
}

// ResolveLocal implements Network as launcher does: the far side's node says where its
// listener is.
func (f *fakeNet) ResolveLocal(_ context.Context, near, src netip.Addr,
	dst netip.AddrPort,
	socket uint64) (netip.AddrPort, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	node := f.nodes[dst.Addr()]
	if node == nil {
		return netip.AddrPort{}, unix.EHOSTUNREACH
	}
	return node.ResolveLocal(near, src, dst, socket)
}
