package syscalls

import (
	"net/netip"
	"sync"
)

// announcements are what the node has told the others of its listeners. Where the
// kernel does not tell when a listener has gone (listeners.go) or how full its backlog
// is, nothing is announced.
type announcements struct {
	to Network // nil: the kernel does not tell when listeners go

	mu sync.Mutex
	// at has what was announced, by the listener's kernel address.
	at map[netip.AddrPort][]netip.AddrPort
}

// announce tells the others about a listener at a kernel address, which the program
// knows as another.
func (n *Node) announce(program, kernel netip.AddrPort) {
	if n.announced.to == nil || !kernel.Addr().Is4() {
		return
	}
	n.announced.mu.Lock()
	defer n.announced.mu.Unlock()
	if n.announced.at == nil {
		n.announced.at = make(map[netip.AddrPort][]netip.AddrPort)
	}
	n.announced.at[kernel] = n.reachedFrom(program, kernel)
	credit := announceable(min(n.backlogRoom(kernel), n.budget.credit()))
	for _, dst := range n.announced.at[kernel] {
		n.announced.to.Announce(dst, credit)
	}
}

// reachedFrom returns the addresses of the node's at which others reach a listener.
func (n *Node) reachedFrom(program, kernel netip.AddrPort) (at []netip.AddrPort) {
	for _, a := range [...]netip.Addr{n.Addr, n.Addr6} {
		if a.IsValid() && (program.Addr() == a || program.Addr() == wildcardOf(a) ||
			kernel.Addr() == n.Aliases.Dual) {
			at = append(at, netip.AddrPortFrom(a, program.Port()))
		}
	}
	return at
}

// leastCredit is the credit that a listener needs to be announced. Where there is little,
// a connect that finds the backlog full shall wait, as on Linux, and not be told that it
// is connected. Servers ask for 100 and more.
const leastCredit = 16

func announceable(credit int) int {
	if credit < leastCredit {
		return 0
	}
	return credit
}

// withdraw takes an announcement back: the last listener at a kernel address has gone.
// A new one may be there by now, and has been announced or is about to be.
func (n *Node) withdraw(kernel netip.AddrPort) {
	n.announced.mu.Lock()
	defer n.announced.mu.Unlock()
	for _, dst := range n.announced.at[kernel] {
		n.announced.to.Announce(dst, 0)
	}
	delete(n.announced.at, kernel)
}

// Credit returns how many more connections the node's listener at dst has room for, after
// one of them has just been made: it may not have been queued yet.
func (n *Node) Credit(dst netip.AddrPort) int {
	for _, l := range n.ports.find(dst.Port(), dst.Addr(), wildcardOf(dst.Addr())) {
		return announceable(min(n.backlogRoom(l.kernel)-1, n.budget.credit()))
	}
	return 0
}

// backlogRoom returns how many more connections a listener takes before its backlog
// is full; 0 also if there is none, or if the kernel cannot be asked: then connects
// wait for the answer. A backlog of N holds N+1 (sk_acceptq_is_full in
// include/net/sock.h).
func (n *Node) backlogRoom(kernel netip.AddrPort) int {
	l, found, err := n.diag.Listener(kernel)
	if err != nil || !found {
		return 0
	}
	return max(0, int(l.Backlog)+1-int(l.Waiting))
}
