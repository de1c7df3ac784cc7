package syscalls

import (
	"errors"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// udpSockets has the UDP sockets of the node's programs, which trapped calls have shown,
// by their kernel addresses on loopback. Every process of the host can use loopback, and
// another process may get a port that a program has closed. Before the node delivers a
// datagram, or forwards one that came to a flow, it therefore asks the kernel which
// socket has the address (sock_diag(7)). Only the programs' sockets take part in the
// network.
type udpSockets struct {
	mu sync.Mutex
	// cookies (SO_COOKIE, socket(7)); with SO_REUSEPORT, several sockets share an address
	at     map[netip.AddrPort][]uint64
	open   map[uint64][]netip.AddrPort // the addresses of each, by its cookie
	closed []closedUDP                 // oldest first
	deaf   bool                        // the kernel does not report the end of sockets
}

// A closedUDP is a socket that the kernel has destroyed.
type closedUDP struct {
	cookie uint64
	when   time.Time
}

// udpLinger is how long a socket is kept after its end: its last datagrams may not have
// been forwarded yet.
const udpLinger = time.Second

func (u *udpSockets) note(kernel netip.AddrPort, cookie uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pruneLocked()
	if u.at == nil {
		u.at = make(map[netip.AddrPort][]uint64)
		u.open = make(map[uint64][]netip.AddrPort)
	}
	// The socket may have been taken for closed wrongly: see datagramsMissed.
	u.closed = slices.DeleteFunc(u.closed,
		func(c closedUDP) bool { return c.cookie == cookie })
	list := u.at[kernel]
	if slices.Contains(list, cookie) {
		return
	}
	limit := maxUDPShared
	if u.deaf {
		limit = maxUDPDeaf
	}
	if len(list) >= limit {
		u.dropLocked(list[0])
	}
	u.at[kernel] = append(u.at[kernel], cookie)
	u.open[cookie] = append(u.open[cookie], kernel)
}

const (
	// maxUDPShared bounds the sockets of one address: more than there are processors,
	// each of which may have a server process.
	maxUDPShared = 1024
	// maxUDPDeaf is that bound if closed sockets stay in the table.
	maxUDPDeaf = 8
)

// has reports whether a program's socket with that cookie is, or was, at an address.
func (u *udpSockets) has(kernel netip.AddrPort, cookie uint64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Contains(u.at[kernel], cookie)
}

// had reports whether a program's socket is at an address, or was there until just now.
func (u *udpSockets) had(kernel netip.AddrPort) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pruneLocked()
	return len(u.at[kernel]) > 0
}

// end records that the kernel has destroyed a socket, and returns its addresses.
func (u *udpSockets) end(cookie uint64) []netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pruneLocked()
	at := u.open[cookie]
	if at != nil {
		u.closed = append(u.closed, closedUDP{cookie, time.Now()})
	}
	return slices.Clone(at)
}

// known returns the addresses of each socket, by its cookie.
func (u *udpSockets) known() map[uint64][]netip.AddrPort {
	u.mu.Lock()
	defer u.mu.Unlock()
	all := make(map[uint64][]netip.AddrPort, len(u.open))
	for cookie, addrs := range u.open {
		all[cookie] = slices.Clone(addrs)
	}
	return all
}

// setDeaf records that the kernel does not report the end of sockets.
func (u *udpSockets) setDeaf() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.deaf = true
}

// isDeaf reports whether closed sockets stay in the table.
func (u *udpSockets) isDeaf() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.deaf
}

// pruneLocked drops the sockets that have closed more than udpLinger ago.
func (u *udpSockets) pruneLocked() {
	for len(u.closed) > 0 && time.Since(u.closed[0].when) >= udpLinger {
		u.dropLocked(u.closed[0].cookie)
		u.closed = u.closed[1:]
	}
}

func (u *udpSockets) dropLocked(cookie uint64) {
	for _, kernel := range u.open[cookie] {
		u.at[kernel] = slices.DeleteFunc(u.at[kernel],
			func(c uint64) bool { return c == cookie })
		if len(u.at[kernel]) == 0 {
			delete(u.at, kernel)
		}
	}
	delete(u.open, cookie)
}

// forget drops all sockets that were at an address.
func (u *udpSockets) forget(kernel netip.AddrPort) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, cookie := range slices.Clone(u.at[kernel]) {
		u.dropLocked(cookie)
	}
}

// show records that a UDP socket belongs to a program. A socket without a port can
// neither send nor receive yet.
func (u *udp) show(s *progSocket) error {
	local, _, err := s.localName()
	if err != nil || local.Addr.Port() == 0 {
		return err
	}
	id, err := s.cookie()
	if err != nil {
		return err
	}
	u.sockets.note(sourceOf(local), id)
	if kernel, ok := u.reachedAt(s, local); ok {
		u.sockets.note(kernel, id)
	}
	return nil
}

// showSender is show for a socket that is about to send to a flow. It binds the socket
// now, as the kernel would with the first datagram, because the flow must know the port
// before.
func (u *udp) showSender(s *progSocket) error {
	if s.hasPort() {
		return u.show(s)
	}
	domain, _, err := s.kind()
	if err != nil {
		return err
	}
	return u.bindHost(s, anyAddress(domain))
}

// An attribution says to whom a UDP socket belongs.
type attribution uint8

const (
	programs attribution = iota // to a program of this node
	anothers                    // to another process
	// no socket has that address, or accepts datagrams from there
	noSocket
)

// whose returns to whom the UDP socket belongs that has a kernel address and accepts
// datagrams from another one. If the kernel does not tell, a known socket of a program
// counts.
func (u *udp) whose(kernel, from netip.AddrPort) attribution {
	if u.diag.HasUDP() {
		probes.RLock()
		m, found, err := u.diag.Datagram(kernel, from)
		probes.RUnlock()
		switch {
		case err != nil: // for example out of memory: see below
		case !found:
			return noSocket
		case u.sockets.has(kernel, m.Cookie):
			return programs
		default:
			return anothers
		}
	}
	if u.sockets.had(kernel) {
		return programs
	}
	return anothers
}

// takes reports whether a program's socket at a kernel address accepts datagrams of a
// flow's endpoint. It drops an address that another process has by now. A socket that has
// closed, or is connected elsewhere, accepts none.
func (u *udp) takes(fl *flow, kernel netip.AddrPort) bool {
	switch u.whose(kernel, fl.local) {
	case programs:
		return true
	case anothers:
		u.Logger.Debug("a program's UDP port is another process's now", "at", kernel)
		u.forgetDatagrams(kernel)
	case noSocket:
		if !u.sockets.had(kernel) {
			u.forgetDatagrams(kernel)
		}
	}
	return false
}

// deliverTo delivers a datagram of a flow's endpoint to the program's socket at a kernel
// address, if the socket accepts it.
func (u *udp) deliverTo(fl *flow, kernel netip.AddrPort, ip stream.IPFields,
	b []byte) {
	if u.takes(fl, kernel) {
		u.hand(fl, kernel, ip, b)
	}
}

// forgetDatagrams drops the records of a program's UDP socket that has closed.
func (u *udp) forgetDatagrams(kernel netip.AddrPort) {
	u.flows.unbind(kernel)
	u.flows.forgetEgress(kernel)
	u.ports.gone(kernel)
	u.sockets.forget(kernel)
}

// sentBy reports whether a program of this node has sent a datagram to a flow, even if it
// has closed its socket since.
func (u *udp) sentBy(from netip.AddrPort, fl *flow) bool {
	switch u.whose(from, fl.local) {
	case programs:
		return true
	case noSocket:
		return u.sockets.had(from)
	}
	return false
}

// isPrograms reports whether a program's socket is at an address, or was until a moment
// ago, wherever it is connected.
func (u *udp) isPrograms(kernel netip.AddrPort) bool {
	switch u.whose(kernel, u.nowhere()) {
	case programs:
		return true
	case noSocket:
		return u.sockets.had(kernel)
	}
	return false
}

// stillThere reports whether a program's UDP socket is at an address. If not, it drops
// the address.
func (u *udp) stillThere(kernel netip.AddrPort) bool {
	switch u.whose(kernel, u.nowhere()) {
	case programs:
		return true
	case noSocket: // or the socket is connected, and refuses others
		if errors.Is(probe(unix.SOCK_DGRAM, -1, kernel), unix.EADDRINUSE) {
			return true
		}
	}
	u.forgetDatagrams(kernel)
	return false
}

// nowhere returns an address to which no socket is connected.
func (u *udp) nowhere() netip.AddrPort { return netip.AddrPortFrom(u.Aliases.of(unused), 1) }

// localDatagrams returns the kernel addresses at which the node's programs have UDP
// sockets with a port, on any of the given localhost and wildcard addresses. ok is false
// if only the host's sockets count.
func (u *udp) localDatagrams(port uint16, addrs ...netip.Addr) (kernel netip.AddrPort,
	ok bool) {
	for _, l := range u.ports.find(port, addrs...) {
		if u.stillThere(l.kernel) {
			return l.kernel, true
		}
	}
	return netip.AddrPort{}, false
}

// exists reports whether a UDP socket exists, or may exist, at an address.
func (u *udp) exists(at addrPair) bool {
	_, found, err := u.diag.Datagram(at.own, at.far)
	return err != nil || found
}

// watch drops UDP sockets when their last reference has closed.
func (u *udp) watch() {
	if u.diag.HasUDP() {
		u.ports.exists = u.exists
	}
	watcher, err := linux.WatchDestroyed(onLoopback, linux.UDPDestroyed,
		linux.UDP6Destroyed)
	if err != nil {
		u.Logger.Debug("the kernel does not tell when UDP sockets close", "err", err)
		u.sockets.setDeaf()
		return
	}
	u.watcher = watcher
	u.tasks.Go(func() {
		for {
			s, err := watcher.Next()
			switch {
			case errors.Is(err, os.ErrClosed):
				return
			case errors.Is(err, linux.ErrMissed):
				u.datagramsMissed()
			case err != nil:
				u.Logger.Warn("the kernel tells no more when UDP sockets close", "err", err)
				u.sockets.setDeaf()
				return
			default:
				u.datagramClosed(s.Cookie)
			}
		}
	})
}

// datagramClosed drops a UDP socket that the kernel has destroyed.
func (u *udp) datagramClosed(cookie uint64) {
	u.flows.unpin(cookie)
	u.clients.drop(cookie)
	u.ports.closed(cookie)
	for _, at := range u.sockets.end(cookie) {
		u.leaveClosed(u.ports.programPort(at))
	}
}

// datagramsMissed drops the sockets that have closed, after messages of the kernel were
// lost. If the kernel cannot list the sockets, an address that can be bound has no
// socket. A socket has closed if that holds for all of its addresses, because connect(2)
// removes it from some.
func (u *udp) datagramsMissed() {
	u.checkPins()
	known, clients := u.sockets.known(), u.clients.known()
	open, err := u.diag.UDPCookies() // after known: others may be new
	taken := func(kernel netip.AddrPort) bool {
		return probe(unix.SOCK_DGRAM, -1, kernel) != nil
	}
	for cookie, addrs := range known {
		if err == nil && open[cookie] || err != nil && slices.ContainsFunc(addrs, taken) {
			continue
		}
		u.datagramClosed(cookie)
	}
	for _, cookie := range clients {
		if err == nil && !open[cookie] {
			u.clients.drop(cookie)
		}
	}
}

// onLoopback is a socket filter that passes messages about sockets with a loopback
// address or none. Some hosts have many sockets that send to the outside. It checks the
// last four bytes of an IPv6 address: v4-mapped, or ::.
var onLoopback = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: linux.DiagSport},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 8},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: linux.DiagFamily},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_INET6, Jt: 2},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: linux.DiagSource},
	{Code: unix.BPF_JMP | unix.BPF_JA, K: 1},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: linux.DiagSource + 12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 127, Jt: 1},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}
