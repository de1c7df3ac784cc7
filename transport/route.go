package transport

import (
	"maps"
	"net"
	"net/netip"
	"sync/atomic"
)

// A route is what the Socket knows of one peer. QUIC knows the peer by an
// address that is not real and never changes; each packet takes the path of
// the moment. All of it can be used without a lock.
type route struct {
	id   uint32
	addr *net.UDPAddr // fakeAddr(id), made once: QUIC gets this pointer with each packet

	path atomic.Pointer[path] // where packets go; nil: they are dropped

	sent, received           atomic.Uint64 // QUIC packets
	bytesSent, bytesReceived atomic.Uint64 // their bytes, without relay headers

	// asleep is set by the owner when nothing was sent for a while; the first
	// packet after that calls wake, once. So an idle peer needs no ticking.
	asleep atomic.Bool
	wake   func()

	// in routeTable.bySource, the oldest first; guarded by Socket.mu
	sources []netip.AddrPort

	// buffering is set by the owner while what is sent is likely lost.
	buffering atomic.Bool
	buffer    retransmitBuffer
}

// A path is a real way for packets: an address, or the relay if relay is set.
type path struct {
	to    netip.AddrPort
	relay bool
}

// fakeAddr makes the address by which QUIC knows the peer id: 0.x.y.z, of which
// RFC 1122 section 3.2.1.3 (and the kernel, as a martian) allows no packet to
// come. The id's top byte is in the port.
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

// A routeTable finds routes from both sides. It does not change: a new one
// takes its place, which happens when a peer or one of its addresses is new.
type routeTable struct {
	byID     map[uint32]*route
	bySource map[netip.AddrPort]*route // real addresses that have proven to be the peer's
}

// addRoute makes the route to the peer id. It must not have one.
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

// removeRoute forgets r and its addresses.
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

// maxSources bounds the addresses of one peer, which could send from ever new ones.
const maxSources = 2 * maxPairs

// addSource makes packets from a real address count as the peer's: somebody
// there has shown to know the peer's secret.
func (s *Socket) addSource(from netip.AddrPort, r *route) {
	if s.routes.Load().bySource[from] == r {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.routes.Load()
	if old.byID[r.id] != r {
		return // removed meanwhile
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
