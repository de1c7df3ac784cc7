package syscalls

import (
	"net/netip"
	"sync"
)

// announcements are the listeners that the node has announced to other nodes. Where the
// kernel does not report the end of a listener (listeners.go) or the length of its accept
// queue, the node announces nothing.
type announcements struct {
	to Network // nil: the kernel does not report the end of listeners

	mu sync.Mutex
	// at has the announced addresses, by the listener's kernel address.
	at map[netip.AddrPort][]netip.AddrPort
}

// announce announces a listener at a kernel address, which the program knows by its
// virtual address.
func (l *listeners) announce(program, kernel netip.AddrPort) {
	if l.announced.to == nil || !kernel.Addr().Is4() {
		return
	}
	l.announced.mu.Lock()
	defer l.announced.mu.Unlock()
	if l.announced.at == nil {
		l.announced.at = make(map[netip.AddrPort][]netip.AddrPort)
	}
	l.announced.at[kernel] = l.reachedFrom(program, kernel)
	credit := announceable(min(l.backlogRoom(kernel), l.budget.credit()))
	for _, dst := range l.announced.at[kernel] {
		l.announced.to.Announce(dst, credit)
	}
}

// reachedFrom returns the node's addresses at which other nodes reach a listener.
func (l *listeners) reachedFrom(program, kernel netip.AddrPort) (at []netip.AddrPort) {
	for _, a := range [...]netip.Addr{l.Addr, l.Addr6} {
		if a.IsValid() && (program.Addr() == a || program.Addr() == wildcardOf(a) ||
			kernel.Addr() == l.Aliases.Dual) {
			at = append(at, netip.AddrPortFrom(a, program.Port()))
		}
	}
	return at
}

// leastCredit is the smallest credit with which a listener is announced. A connect that
// finds a small backlog full must wait, as on Linux, instead of being told that it is
// connected. Servers ask for backlogs of 100 and more.
const leastCredit = 16

func announceable(credit int) int {
	if credit < leastCredit {
		return 0
	}
	return credit
}

// withdraw withdraws an announcement: the last listener at a kernel address has closed. A
// new listener may exist there already; it is announced separately.
func (l *listeners) withdraw(kernel netip.AddrPort) {
	l.announced.mu.Lock()
	defer l.announced.mu.Unlock()
	for _, dst := range l.announced.at[kernel] {
		l.announced.to.Announce(dst, 0)
	}
	delete(l.announced.at, kernel)
}

// Credit returns how many more connections the node's listener at dst has room for. It
// subtracts one for a connection that was just made and may not be queued yet.
func (n *Node) Credit(dst netip.AddrPort) int { return n.listeners.credit(dst) }

// credit is Node.Credit.
func (l *listeners) credit(dst netip.AddrPort) int {
	for _, at := range l.ports.find(dst.Port(), dst.Addr(), wildcardOf(dst.Addr())) {
		return announceable(min(l.backlogRoom(at.kernel)-1, l.budget.credit()))
	}
	return 0
}

// backlogRoom returns how many more connections a listener takes before its backlog is
// full. It returns 0 if there is no listener, or if the kernel does not answer; then
// connects wait for the far side's answer. A backlog of N holds N+1 connections
// (sk_acceptq_is_full in include/net/sock.h).
func (l *listeners) backlogRoom(kernel netip.AddrPort) int {
	s, found, err := l.diag.Listener(kernel)
	if err != nil || !found {
		return 0
	}
	return max(0, int(s.Backlog)+1-int(s.Waiting))
}
