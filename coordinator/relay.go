package coordinator

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/transport"
)

// A relayTable maps nodes to their UDP addresses for the relay: the remote addresses of
// their authenticated QUIC connections.
type relayTable struct {
	mu     sync.RWMutex
	byID   map[uint32]netip.AddrPort
	byAddr map[netip.AddrPort]uint32

	packets, bytes, dropped atomic.Uint64 // that the relay has forwarded, or not
}

func newRelayTable() *relayTable {
	return &relayTable{byID: make(map[uint32]netip.AddrPort),
		byAddr: make(map[netip.AddrPort]uint32)}
}

// set records the address of a node.
func (t *relayTable) set(id uint32, addr netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropLocked(id)
	// The node that has just authenticated from the address has it. A node that had it
	// before is behind a NAT that has dropped the mapping, and is no longer reachable
	// there.
	if other, ok := t.byAddr[addr]; ok {
		delete(t.byID, other)
	}
	t.byID[id], t.byAddr[addr] = addr, id
}

// drop removes a node.
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

// clear removes all nodes.
func (t *relayTable) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.byID)
	clear(t.byAddr)
}

// lookup returns the id of the node at from, and the address of node to.
func (t *relayTable) lookup(from netip.AddrPort, to uint32) (source uint32,
	addr netip.AddrPort,
	ok bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	source, known := t.byAddr[from]
	addr, ok = t.byID[to]
	return source, addr, known && ok
}

// relay forwards one frame on the goroutine that reads the socket. It takes two lookups
// and no allocation. It forwards only from an admitted node to an admitted node. The
// coordinator writes the sender's id into the frame, so that a sender cannot forge it. As
// in UDP, a frame that cannot be forwarded is dropped.
func (s *Server) relay(frame []byte, from netip.AddrPort) {
	to, _, err := transport.ParseRelayFrame(frame)
	if err != nil {
		return
	}
	source, addr, ok := s.relays.lookup(unmap(from), to)
	if !ok {
		s.relays.dropped.Add(1)
		return
	}
	s.relays.packets.Add(1)
	s.relays.bytes.Add(uint64(len(frame)))
	transport.SetRelayID(frame, source)
	_ = s.cfg.Socket.WriteTo(frame, addr)
}

// unmap converts an IPv4-mapped address into an IPv4 address.
func unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func withoutZone(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().WithZone(""), a.Port())
}
