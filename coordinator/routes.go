package coordinator

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/transport"
)

// routes says for the relay which node sits behind which UDP address: the
// remote address of its authenticated QUIC connection.
type routes struct {
	mu     sync.RWMutex
	byID   map[uint32]netip.AddrPort
	byAddr map[netip.AddrPort]uint32
}

func newRoutes() *routes {
	return &routes{byID: make(map[uint32]netip.AddrPort),
		byAddr: make(map[netip.AddrPort]uint32)}
}

// set says that the node is at addr from now on.
func (r *routes) set(id uint32, addr netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked(id)
	// Who is authenticated at an address now, has it: the node that was there
	// before, behind a NAT that has forgotten it, can no longer be reached there.
	if other, ok := r.byAddr[addr]; ok {
		delete(r.byID, other)
	}
	r.byID[id], r.byAddr[addr] = addr, id
}

// drop forgets the node.
func (r *routes) drop(id uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropLocked(id)
}

func (r *routes) dropLocked(id uint32) {
	if addr, ok := r.byID[id]; ok {
		delete(r.byID, id)
		delete(r.byAddr, addr)
	}
}

// clear forgets all nodes.
func (r *routes) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.byID)
	clear(r.byAddr)
}

// pair returns the id of the node at from and the address of node to.
func (r *routes) pair(from netip.AddrPort, to uint32) (source uint32, addr netip.AddrPort,
	ok bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	source, known := r.byAddr[from]
	addr, ok = r.byID[to]
	return source, addr, known && ok
}

// relay forwards one frame, on the socket's reading goroutine: two lookups, no
// allocation. It sends nothing that an admitted node did not send to another
// admitted node, and the receiver learns the source from the coordinator, not
// from the sender. What cannot be forwarded is dropped, as UDP drops.
func (s *Server) relay(frame []byte, from netip.AddrPort) {
	to, _, err := transport.ParseRelayFrame(frame)
	if err != nil {
		return
	}
	source, addr, ok := s.routes.pair(unmap(from), to)
	if !ok {
		return
	}
	transport.SetRelayID(frame, source)
	_ = s.cfg.Socket.WriteTo(frame, addr)
}

// unmap returns the address with an IPv4 address for an IPv4-mapped one.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func withoutZone(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}
