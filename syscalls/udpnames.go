package syscalls

import (
	"net/netip"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
)

// local returns the result of getsockname(2) for a UDP socket, see protocol.
func (u *udp) local(local, peer abi.Sockaddr) abi.Sockaddr {
	kernel, far := unmapped(local.Addr), unmapped(peer.Addr)
	r, ok := u.Aliases.role(kernel.Addr())
	if !ok {
		// never bound
		if _, ok := u.Aliases.role(far.Addr()); ok && kernel.Addr() == localhost4 {
			local.Addr = netip.AddrPortFrom(u.ownAddress(kernel, far), kernel.Port())
		}
		return local
	}
	addr := u.own(r)
	if addr.IsUnspecified() && far.IsValid() {
		addr = u.ownAddress(kernel, far)
	}
	local.Addr = netip.AddrPortFrom(addr, u.ports.programPort(kernel))
	return local
}

// ownAddress returns the node's own address of a connected socket whose kernel address
// does not show it (a wildcard, or chosen by the kernel). It uses the other end's
// address.
func (u *udp) ownAddress(kernel, far netip.AddrPort) netip.Addr {
	r, ok := u.Aliases.role(far.Addr())
	if addr, ok := u.ports.recordedPeer(kernel, far); ok && r&^v6 != datagramEnd {
		return addr
	}
	switch {
	case !ok: // 127.0.0.1, for one that was never bound: the kernel chose the source
		return localhost4
	case r&^v6 == datagramEnd: // a ping socket that is connected to localhost
		if peer, ok := u.flows.peerOf(far); ok && peer.Addr().IsLoopback() {
			return peer.Addr()
		}
	}
	if addr := u.own(r); !addr.IsUnspecified() {
		return addr
	}
	return u.own(private | r&v6)
}

// remote returns the result of getpeername(2) for a UDP socket, see protocol.
func (u *udp) remote(local, peer abi.Sockaddr) (s abi.Sockaddr, ok bool) {
	kernel, far := unmapped(local.Addr), unmapped(peer.Addr)
	r, ok := u.Aliases.role(far.Addr())
	switch {
	case !ok && far.Addr() == localhost4: // never bound
		if recorded, ok := u.ports.recordedPeer(far, far); ok {
			peer.Addr = netip.AddrPortFrom(recorded, far.Port())
		}
		return peer, true
	case !ok:
		return peer, true
	case r&^v6 == relayEnd:
		peer.Addr, ok = u.dns.server(far)
		return peer, ok
	case r&^v6 == datagramEnd:
		peer.Addr, ok = u.flows.peerOf(far)
		return peer, ok
	}
	addr := u.own(r)
	if addr.IsUnspecified() {
		addr = u.ownAddress(far, kernel)
	}
	peer.Addr = netip.AddrPortFrom(addr, u.ports.programPort(far))
	return peer, true
}

// datagramSource returns the address that a program sees as the source of a datagram from
// a kernel address.
func (u *udp) datagramSource(from abi.Sockaddr) abi.Sockaddr { return u.datagramName(from, false) }

// datagramName is datagramSource, also for an address to which a program has sent, where
// there may be no socket.
func (u *udp) datagramName(from abi.Sockaddr, sentTo bool) abi.Sockaddr {
	kernel := unmapped(from.Addr)
	if peer, ok := u.flows.peerOf(kernel); ok {
		from.Addr = peer
		return from
	}
	if server, ok := u.dns.server(kernel); ok {
		from.Addr = server
		return from
	}
	addr := kernel.Addr()
	if r, ok := u.Aliases.role(addr); ok {
		if !sentTo && !u.isPrograms(kernel) {
			return from // another process, at one of the node's aliases
		}
		addr = u.own(r)
	} else if addr != localhost4 {
		return from
	}
	switch recorded, ok := u.ports.recordedPeer(kernel, kernel); {
	case ok:
		addr = recorded
	case addr == netip.IPv4Unspecified(), addr == netip.IPv6Unspecified() &&
		kernel.Addr() == u.Aliases.Dual:
		addr = localhost4
	case addr == netip.IPv6Unspecified():
		addr = netip.IPv6Loopback()
	}
	from.Addr = netip.AddrPortFrom(addr, u.ports.programPort(kernel))
	return from
}

// datagramTarget returns the node's address to which a datagram from a kernel address was
// sent, and the index of the interface.
func (u *udp) datagramTarget(from netip.AddrPort) (target abi.AddressMap, index uint32) {
	own, index := localhost4, uint32(1)
	if recorded, ok := u.ports.recordedPeer(netip.AddrPort{}, from); ok {
		own = recorded
	}
	if peer, ok := u.flows.peerOf(from); ok {
		// also from itself, as on Linux
		own, index = u.addrFor(peer.Addr()), netif.InterfaceIndex
	}
	return func(to netip.AddrPort) netip.AddrPort {
		a := to.Addr()
		if r, ok := u.Aliases.role(a); ok {
			a = u.own(r)
		}
		if to.Addr() == localhost4 || a.IsUnspecified() {
			a = own
		}
		return netip.AddrPortFrom(a, u.ports.programPort(to))
	}, index
}

// datagramOffender returns the address that reported an error about a datagram to dst:
// the destination itself, or this node if no node has that address.
func (u *udp) datagramOffender(dst abi.Sockaddr, unreachable bool) abi.AddressMap {
	return func(from netip.AddrPort) netip.AddrPort {
		r, ok := u.Aliases.role(from.Addr())
		if !ok {
			return from
		}
		if r&^v6 != datagramEnd { // a closed port of this node
			return netip.AddrPortFrom(dst.Addr.Addr().Unmap(), 0)
		}
		if unreachable {
			return netip.AddrPortFrom(u.addrFor(dst.Addr.Addr().Unmap()), 0)
		}
		return netip.AddrPortFrom(dst.Addr.Addr(), 0)
	}
}
