package syscalls

import (
	"net/netip"
	"sync"
)

// ports knows where the node's listeners are, and the ports that became others
// because the host refused them: below 1024 without privilege, or taken by a
// wildcard listener of the host.
type ports struct {
	mu sync.RWMutex
	// listeners maps what the program listens on (0.0.0.0, [::], a virtual address,
	// 127.0.0.1 or ::1, with the port it knows) to the kernel address.
	listeners map[netip.AddrPort]netip.AddrPort
	// moved and wishes map an alias with the port that the program knows, and the
	// one with the port that the kernel knows, to each other, where these differ.
	moved, wishes map[netip.AddrPort]netip.AddrPort
	// self has the address of the node at which a socket of the node meets
	// another, by its own kernel address, where that does not tell.
	self map[netip.AddrPort]netip.Addr

	loopbacks loopbacks
}

// wish returns the port that the program asked for at a kernel address that has
// another one.
func (p *ports) wish(kernel netip.AddrPort) (uint16, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	a, ok := p.wishes[kernel]
	return a.Port(), ok
}

// known returns the port of a kernel address as the program knows it.
func (p *ports) known(kernel netip.AddrPort) uint16 {
	if port, ok := p.wish(kernel); ok {
		return port
	}
	return kernel.Port()
}

// movedTo returns where an alias and port that a program wants went; ok is false
// if the kernel has the same port.
func (p *ports) movedTo(want netip.AddrPort) (netip.AddrPort, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	a, ok := p.moved[want]
	return a, ok
}

// move records that another port serves what a program wants. A new owner of the
// address replaces an old one.
func (p *ports) move(want, kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil {
		p.moved = make(map[netip.AddrPort]netip.AddrPort)
		p.wishes = make(map[netip.AddrPort]netip.AddrPort)
	}
	if old, ok := p.moved[want]; ok {
		delete(p.wishes, old)
	}
	p.moved[want] = kernel
	p.wishes[kernel] = want
}

// forget drops what was recorded of a kernel address that was bound anew, by
// somebody who asked for that port.
func (p *ports) forget(kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if want, ok := p.wishes[kernel]; ok {
		delete(p.wishes, kernel)
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

// refused drops a listener that has turned out to be closed.
func (p *ports) refused(program, kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listeners[program] == kernel {
		delete(p.listeners, program)
	}
}

// gone drops what was recorded of a kernel address whose socket is closed.
func (p *ports) gone(kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for program, at := range p.listeners {
		if at == kernel {
			delete(p.listeners, program)
		}
	}
}

// used reports whether there is, or was, any listener.
func (p *ports) used() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.listeners != nil
}

// A listener is one place where a connection to a port may be accepted.
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

// maxSelf bounds the sockets of which self knows. Few programs bind a socket, and
// connect it to another address of their own host, or send UDP to ::1.
const maxSelf = 1024

// addSelf notes that a socket, whose own address is own, meets another at addr.
func (p *ports) addSelf(kernel netip.AddrPort, own, addr netip.Addr) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case own == addr:
		delete(p.self, kernel)
		return
	case p.self == nil || len(p.self) >= maxSelf:
		p.self = make(map[netip.AddrPort]netip.Addr)
	}
	p.self[kernel] = addr
}

// metSelf returns the address at which two sockets of this node meet, of which
// one knows. ok is false if its own address tells.
func (p *ports) metSelf(a, b netip.AddrPort) (addr netip.Addr, ok bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if addr, ok = p.self[a]; !ok {
		addr, ok = p.self[b]
	}
	return addr, ok
}

// empty reports whether nothing was ever recorded that names are translated by.
func (p *ports) empty() bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.wishes == nil && p.self == nil
}
