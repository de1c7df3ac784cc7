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
	// listeners maps what the program listens on (0.0.0.0, [::], its virtual
	// address, 127.0.0.1 or ::1, with the port it knows) to the kernel address.
	listeners map[netip.AddrPort]netip.AddrPort
	// moved and wishes map a program's address and the kernel address that
	// serves it to each other, where their ports differ.
	moved, wishes map[netip.AddrPort]netip.AddrPort
}

// wish returns the program's address of a kernel address whose port is not the
// one that the program asked for.
func (p *ports) wish(kernel netip.AddrPort) (netip.AddrPort, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	a, ok := p.wishes[kernel]
	return a, ok
}

// movedTo returns where the program's address went; ok is false if the kernel
// has the same port.
func (p *ports) movedTo(program netip.AddrPort) (netip.AddrPort, bool) {
	p.mu.RLock()
	defer p.mu.RUnlock()
	a, ok := p.moved[program]
	return a, ok
}

// move records that the program's address is served at another port. A new
// owner of the address replaces an old one.
func (p *ports) move(program, kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil {
		p.moved = make(map[netip.AddrPort]netip.AddrPort)
		p.wishes = make(map[netip.AddrPort]netip.AddrPort)
	}
	if old, ok := p.moved[program]; ok {
		delete(p.wishes, old)
	}
	p.moved[program] = kernel
	p.wishes[kernel] = program
}

// forget drops what was recorded of a kernel address that was bound anew, by
// somebody who asked for that port.
func (p *ports) forget(kernel netip.AddrPort) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if program, ok := p.wishes[kernel]; ok {
		delete(p.wishes, kernel)
		delete(p.moved, program)
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
