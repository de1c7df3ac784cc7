package transport

import (
	"net/netip"
	"slices"
)

// udpOverhead is what IPv4 and UDP add to a packet, in bytes.
const udpOverhead = 20 + 8

// maxQUICPacket is the largest packet that quic-go sends or takes, in bytes
// (its protocol.MaxPacketBufferSize).
const maxQUICPacket = 1452

// maxPacketFor returns the largest QUIC packet that fits every interface
// behind a relay header, but never less than QUIC needs (RFC 9000 section 14).
func maxPacketFor(list []iface) int {
	size := maxQUICPacket
	for _, i := range list {
		if !i.loopback && i.mtu > 0 {
			size = min(size, i.mtu-udpOverhead-relayHeaderSize)
		}
	}
	return max(size, 1200)
}

// hostCandidates returns the addresses at which this host's other nodes, and
// the neighbours on its networks, can reach the socket.
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

// carrierNAT is shared by the customers of a provider (RFC 6598).
var carrierNAT = netip.MustParsePrefix("100.64.0.0/10")

// isPrivate reports whether an address is one of a host or of a local network.
func isPrivate(a netip.Addr) bool {
	return a.IsPrivate() || a.IsLoopback() || a.IsLinkLocalUnicast() ||
		carrierNAT.Contains(a)
}

// kindOf says what a direct path to remote is. offered is what the peer says
// the address is, or 0 if it was learnt from a packet.
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
