package transport

import (
	"net/netip"
	"slices"
)

// udpOverhead is the size of the IPv4 and UDP headers in bytes.
const udpOverhead = 20 + 8

// maxQUICPacket is the largest packet that quic-go sends or accepts, in bytes
// (its protocol.MaxPacketBufferSize).
const maxQUICPacket = 1452

// maxPacketFor returns the size of the largest QUIC packet that fits every interface with
// a relay header before it, but never less than QUIC needs (RFC 9000 section 14), in
// bytes.
func maxPacketFor(list []iface) int {
	size := maxQUICPacket
	for _, i := range list {
		if !i.loopback && i.mtu > 0 {
			size = min(size, i.mtu-udpOverhead-relayHeaderSize)
		}
	}
	return max(size, 1200)
}

// hostCandidates returns the addresses at which other nodes on this host and on its
// networks can reach the socket.
func (s *Socket) hostCandidates(list []iface) []candidate {
	port := s.local.Port()
	if bound := s.local.Addr(); !bound.IsUnspecified() {
		kind := candidateHost
		if bound.IsLoopback() {
			kind = candidateLocal
		}
		return []candidate{{kind, s.local}}
	}
	candidates := []candidate{{candidateLocal,
		netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port)}}
	for _, i := range list {
		addr := i.prefix.Addr()
		if i.loopback || addr.IsLoopback() {
			continue
		}
		c := candidate{candidateHost, netip.AddrPortFrom(addr, port)}
		if !slices.Contains(candidates, c) {
			candidates = append(candidates, c)
		}
	}
	return candidates
}

// carrierNAT is the prefix between a provider's NAT and its customers (RFC 6598).
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// isPrivate reports whether an address is one of a host or of a local network.
func isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() ||
		carrierNAT.Contains(a)
}

// kindOf returns the kind of a direct path to remote. offered is the kind that the peer's
// offer says, 0 if the address was learnt from a packet.
func kindOf(remote netip.Addr, offered candidateKind, mine []iface) Kind {
	if remote.IsLoopback() {
		return KindLocal
	}
	onLink := false
	for _, i := range mine {
		if i.prefix.Addr() == remote {
			return KindLocal
		}
		onLink = onLink || i.prefix.Contains(remote)
	}
	private := isPrivate(remote)
	if onLink && offered != candidateReflexive || private && offered == candidateHost {
		return KindLAN
	}
	return KindPunched
}
