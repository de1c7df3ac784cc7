package transport

import "net/netip"

// A detour leads the packets for one address to another one, and takes what comes from
// there as from the first.
type detour struct {
	server, via netip.AddrPort
	sending     bool // false: only what still comes in by the detour is taken
}

// Detour makes the socket send to via what is for server, and take what comes from via as
// if server had sent it: via stands for the coordinator where no UDP reaches it. If
// sending is false, packets for server leave directly again, and those that come from via
// are still taken. The zero AddrPort for via ends the detour.
func (s *Socket) Detour(server, via netip.AddrPort, sending bool) {
	if !via.IsValid() {
		s.detour.Store(nil)
		return
	}
	s.detour.Store(&detour{server, via, sending})
}

// detoured returns where a packet for an address goes.
func (s *Socket) detoured(to netip.AddrPort) netip.AddrPort {
	if d := s.detour.Load(); d != nil && d.sending && to == d.server {
		return d.via
	}
	return to
}

// undetoured returns whose packet has come from an address.
func (s *Socket) undetoured(from netip.AddrPort) netip.AddrPort {
	if d := s.detour.Load(); d != nil && from == d.via {
		return d.server
	}
	return from
}
