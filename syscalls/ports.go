package syscalls

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
)

// ports has the node's listeners of one protocol, and the ports that differ from what
// programs asked for, because the host refused those: below 1024 without privilege, or
// taken by a wildcard listener of the host.
type ports struct {
	mu sync.RWMutex
	// listeners maps the address on which a program listens (0.0.0.0, [::], a virtual
	// address, 127.0.0.1 or ::1, with the port that it knows) to the kernel address.
	listeners map[netip.AddrPort]netip.AddrPort
	// places has the sockets at each kernel address. sockets has each socket's kernel
	// address by its cookie (SO_COOKIE). UDP uses them only if the kernel reports the end
	// of sockets.
	places  map[netip.AddrPort]*place
	sockets map[uint64]netip.AddrPort
	// moved maps an alias with the port that the program knows to the kernel address,
	// where the ports differ; requested is the reverse.
	moved, requested map[netip.AddrPort]netip.AddrPort
	// recorded has the virtual address at which two sockets of the node are connected, if
	// the sockets' own addresses do not show it.
	recorded map[addrPair]netip.Addr
	// exists reports whether one of a pair's sockets exists. nil: that is not known.
	exists func(addrPair) bool
	// recordedLimit is the number of pairs at which those of closed sockets are dropped.
	// 0 means minRecorded.
	recordedLimit int

	// inherited has the ports of sockets that were made outside of the node.
	inherited map[uint16]bool

	loopbacks loopbacks
}

// requestedPort returns the port that the program asked for at a kernel address with
// another port.
func (p *ports) requestedPort(kernel netip.AddrPort) (uint16, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	a, ok := p.requested[kernel]
	return a.Port(), ok
}

// programPort returns the port of a kernel address that the program knows.
func (p *ports) programPort(kernel netip.AddrPort) uint16 {
	if port, ok := p.requestedPort(kernel); ok {
		return port
	}
	return kernel.Port()
}

// movedTo returns the kernel address that serves an alias and port; ok is false if the
// kernel has the same port.
func (p *ports) movedTo(want netip.AddrPort) (netip.AddrPort, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	a, ok := p.moved[want]
	return a, ok
}

// move records the kernel address that serves an alias and port. A new owner of the
// address replaces an old one.
func (p *ports) move(want, kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil {
		p.moved = make(map[netip.AddrPort]netip.AddrPort)
		p.requested = make(map[netip.AddrPort]netip.AddrPort)
	}
	if old, ok := p.moved[want]; ok {
		delete(p.requested, old)
	}
	p.moved[want] = kernel
	p.requested[kernel] = want
}

// forget drops the records of a kernel address: another socket was bound to it by its
// port.
func (p *ports) forget(kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if want, ok := p.requested[kernel]; ok {
		delete(p.requested, kernel)
		delete(p.moved, want)
	}
}

func (p *ports) listen(program, kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listeners == nil {
		p.listeners = make(map[netip.AddrPort]netip.AddrPort)
	}
	p.listeners[program] = kernel
}

// A place is a kernel address at which sockets of the node listen; with SO_REUSEPORT
// there may be several.
type place struct {
	programs []netip.AddrPort // the keys of listeners that lead here
	sockets  int              // how many are open
	// made outside of the node; it may be on all addresses of the host
	foreign bool
}

// listenOn records a listener with its cookie, by which the kernel reports the socket's
// end.
func (p *ports) listenOn(program, kernel netip.AddrPort, cookie uint64, foreign bool) {
	p.listen(program, kernel)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.places == nil {
		p.places = make(map[netip.AddrPort]*place)
		p.sockets = make(map[uint64]netip.AddrPort)
	}
	at := p.places[kernel]
	if at == nil {
		at = &place{}
		p.places[kernel] = at
	}
	at.foreign = at.foreign || foreign
	if !slices.Contains(at.programs, program) {
		at.programs = append(at.programs, program)
	}
	if old, ok := p.sockets[cookie]; ok && old != kernel {
		p.leaveLocked(old)
	} else if ok {
		return
	}
	p.sockets[cookie] = kernel
	at.sockets++
}

// owns reports whether the socket with that cookie listens, or has listened, for the node
// at a kernel address.
func (p *ports) owns(kernel netip.AddrPort, cookie uint64) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	at, ok := p.sockets[cookie]
	return ok && at == kernel
}

// listensAt reports whether a socket of the node listens at a kernel address, or has
// listened there until lately.
func (p *ports) listensAt(kernel netip.AddrPort) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.places[kernel] != nil
}

// foreign reports whether the socket at a kernel address was made outside of the node.
func (p *ports) foreign(kernel netip.AddrPort) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	at := p.places[kernel]
	return at != nil && at.foreign
}

// closed drops a socket that the kernel has destroyed. last is true if it was the last
// one at its address; the address is then dropped, too.
func (p *ports) closed(cookie uint64) (kernel netip.AddrPort, last bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	kernel, ok := p.sockets[cookie]
	if !ok {
		return netip.AddrPort{}, false
	}
	delete(p.sockets, cookie)
	return kernel, p.leaveLocked(kernel)
}

// leaveLocked removes one socket from a place.
func (p *ports) leaveLocked(kernel netip.AddrPort) (last bool) {
	at := p.places[kernel]
	if at == nil {
		return false
	}
	if at.sockets--; at.sockets > 0 {
		return false
	}
	delete(p.places, kernel)
	for _, program := range at.programs {
		if p.listeners[program] == kernel {
			delete(p.listeners, program)
		}
	}
	return true
}

// gone drops the records of a kernel address whose sockets have closed.
func (p *ports) gone(kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.places, kernel)
	for cookie, at := range p.sockets {
		if at == kernel {
			delete(p.sockets, cookie)
		}
	}
	for program, at := range p.listeners {
		if at == kernel {
			delete(p.listeners, program)
		}
	}
}

// kernels returns the kernel addresses of all listeners.
func (p *ports) kernels() []netip.AddrPort {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return slices.Collect(maps.Keys(p.places))
}

// used reports whether any listener was ever recorded.
func (p *ports) used() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.listeners != nil
}

// A listener is one address at which a connection to a port may be accepted.
type listener struct{ program, kernel netip.AddrPort }

// find returns the listeners of a port on the given program addresses, in that
// order.
func (p *ports) find(port uint16, addrs ...netip.Addr) []listener {
	p.mu.RLock()
	defer p.mu.RUnlock()
	var found []listener
	for _, a := range addrs {
		program := netip.AddrPortFrom(a, port)
		if kernel, ok := p.listeners[program]; ok {
			found = append(found, listener{program, kernel})
		}
	}
	return found
}

// minRecorded is the least recordedLimit.
const minRecorded = 1024

// An addrPair is a pair of kernel addresses of this node: of the connecting socket and of
// the listening one. far is zero for a UDP socket that is not connected.
type addrPair struct{ own, far netip.AddrPort }

// recordPeer records that a socket, whose own address is own, is connected to another one
// of the node at the virtual address addr. It returns what was recorded of the two
// before: own, or another address.
func (p *ports) recordPeer(at addrPair, own, addr netip.Addr) (before netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before, ok := p.recorded[at]
	if !ok {
		before = own
	}
	if own == addr {
		delete(p.recorded, at)
		return before
	}
	p.dropClosedLocked()
	if p.recorded == nil {
		p.recorded = make(map[addrPair]netip.Addr)
	}
	p.recorded[at] = addr
	return before
}

// dropClosedLocked drops the pairs of closed sockets once there are many. If many are in
// use, the limit becomes twice their number, so that the search costs each connect about
// two look-ups on average. If it is not known which are in use, it drops all.
func (p *ports) dropClosedLocked() {
	p.recordedLimit = max(p.recordedLimit, minRecorded)
	if len(p.recorded) < p.recordedLimit {
		return
	}
	maps.DeleteFunc(p.recorded, func(at addrPair, _ netip.Addr) bool {
		return p.exists == nil || !p.exists(at)
	})
	p.recordedLimit = max(2*len(p.recorded), minRecorded)
}

// recordedPeer returns the address of one of two sockets of this node that meet, if its
// own kernel address does not tell. Both have the address at which they meet, but for a
// socket that sends or connects to 127.0.0.5: its source is 127.0.0.1, as in Linux.
func (p *ports) recordedPeer(of, other netip.AddrPort) (addr netip.Addr, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	for _, at := range [...]addrPair{{of, other}, {own: of}} {
		if addr, ok = p.recorded[at]; ok {
			if addr.Is4() && addr.IsLoopback() {
				addr = localhost4
			}
			return addr, true
		}
	}
	for _, at := range [...]addrPair{{other, of}, {own: other}} {
		if addr, ok = p.recorded[at]; ok {
			return addr, true
		}
	}
	return addr, false
}

// empty reports whether no record exists that affects translated names.
func (p *ports) empty() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.requested == nil && p.recorded == nil
}

// ListeningPorts returns the TCP ports at which other nodes reach the node's programs, in
// ascending order.
func (n *Node) ListeningPorts() []uint16 {
	n.ports.mu.RLock()
	defer n.ports.mu.RUnlock()
	seen := make(map[uint16]bool)
	for at := range n.ports.listeners {
		if !at.Addr().IsLoopback() {
			seen[at.Port()] = true
		}
	}
	return slices.Sorted(maps.Keys(seen))
}
