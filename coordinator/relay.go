package coordinator

import (
	"net/netip"
	"sync"

	"github.com/boxer-sandbox/boxer/transport"
)

// routes says for the relay which node sits behind which UDP address: the
// remote address of its authenticated QUIC connection.
type relayTable struct {
	mu     sync.RWMutex
	byID   map[uint32]netip.AddrPort
	byAddr map[netip.AddrPort]uint32
}

func newRelayTable() *relayTable {
	return &relayTable{byID: make(map[uint32]netip.AddrPort),
		byAddr: make(map[netip.AddrPort]uint32)}
}

// set says that the node is at addr from now on.
func (t *relayTable) set(id uint32, addr netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(id)
	// Who is authenticated at an address now, has it: the node that was there
	// before, behind a NAT that has forgotten it, can no longer be reached there.
	if other, ok := t.byAddr[addr]; ok {
		delete(t.byID, other)
	}
	t.byID[id], t.byAddr[addr] = addr, id
}

// drop forgets the node.
func (t *relayTable) drop(id uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(id)
}

func (t *relayTable) dropLocked(id uint32) {
	if addr, ok := t.byID[id]; ok {
		delete(t.byID, id)
		delete(t.byAddr, addr)
	}
}

// clear forgets all nodes.
func (t *relayTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.byID)
	clear(t.byAddr)
}

// pair returns the id of the node at from and the address of node to.
func (t *relayTable) lookup(from netip.AddrPort, to uint32) (source uint32,
	addr netip.AddrPort,
	ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	source, known := t.byAddr[from]
	addr, ok = t.byID[to]
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
	source, addr, ok := s.relays.lookup(unmap(from), to)
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
