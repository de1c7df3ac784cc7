package transport

import (
	"maps"
	"net"
	"net/netip"
	"sync/atomic"
)

// A route is what the Socket knows about one peer. QUIC knows the peer by an address that
// is not real and never changes; each packet takes the path that is in use when it is
// sent. No lock is needed to use a route.
type route struct {
	id   uint32
	addr *net.UDPAddr // fakeAddr(id), allocated once: QUIC gets it with each packet

	path atomic.Pointer[path] // where packets go; nil: they are dropped

	sent, received           atomic.Uint64 // QUIC packets
	bytesSent, bytesReceived atomic.Uint64 // their bytes, without relay headers

	// The peer sets asleep when nothing was sent for a while. The first packet after that
	// calls wake once. So an idle peer needs no timer.
	asleep atomic.Bool
	wake   func()

	// sources are its addresses in routeTable.bySource, the oldest first; guarded by
	// Socket.mu.
	sources []netip.AddrPort

	// The peer sets buffering while packets are likely lost.
	buffering atomic.Bool
	buffer    retransmitBuffer
}

// A path is where packets are sent: an address of the peer, or the relay if relay is set.
type path struct {
	to    netip.AddrPort
	relay bool
}

// fakeAddr makes the address by which QUIC knows the peer id: 0.x.y.z. RFC 1122 section
// 3.2.1.3 forbids packets from such an address, and the kernel drops them as martians.
// The id's top byte is in the port.
func fakeAddr(id uint32) *net.UDPAddr {
	return &net.UDPAddr{
		IP:   net.IP{0, byte(id >> 16), byte(id >> 8), byte(id)},
		Port: 1 + int(id>>24),
	}
}

// fakeID returns the id of a fake address.
func fakeID(addr *net.UDPAddr) (id uint32, ok bool) {
	ip := addr.IP.To4()
	if ip == nil || ip[0] != 0 || addr.Port < 1 || addr.Port > 256 {
		return 0, false
	}
	return uint32(addr.Port-1)<<24 | uint32(ip[1])<<16 | uint32(ip[2])<<8 | uint32(ip[3]), true
}

// A routeTable finds routes by peer and by address. It never changes: when a peer or one
// of its addresses is new, a new table replaces it.
type routeTable struct {
	byID     map[uint32]*route
	bySource map[netip.AddrPort]*route // real addresses that have proven to be the peer's
}

// addRoute makes the route to the peer id, which must not have one.
func (s *Socket) addRoute(id uint32, wake func()) *route {
	r := &route{id: id, addr: fakeAddr(id), wake: wake}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.routes.Load()
	byID := maps.Clone(old.byID)
	byID[id] = r
	s.routes.Store(&routeTable{byID: byID, bySource: old.bySource})
	return r
}

// removeRoute removes r and its addresses.
func (s *Socket) removeRoute(r *route) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.routes.Load()
	byID, bySource := maps.Clone(old.byID), maps.Clone(old.bySource)
	if byID[r.id] == r {
		delete(byID, r.id)
	}
	maps.DeleteFunc(bySource, func(_ netip.AddrPort, owner *route) bool { return owner == r })
	s.routes.Store(&routeTable{byID: byID, bySource: bySource})
}

// maxSources bounds the addresses of one peer, which could send from new ones all the
// time.
const maxSources = 2 * maxPairs

// addSource makes packets from a real address count as the peer's: a sender there has
// proven that it knows the peer's password.
func (s *Socket) addSource(from netip.AddrPort, r *route) {
	if s.routes.Load().bySource[from] == r {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.routes.Load()
	if old.byID[r.id] != r {
		return // it was removed meanwhile
	}
	bySource := maps.Clone(old.bySource)
	if len(r.sources) >= maxSources {
		if oldest := r.sources[0]; bySource[oldest] == r {
			delete(bySource, oldest)
		}
		r.sources = r.sources[1:]
	}
	r.sources = append(r.sources, from)
	bySource[from] = r
	s.routes.Store(&routeTable{byID: old.byID, bySource: bySource})
}
