package syscalls

import (
	"container/list"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// flows are the node's UDP peers. A flow represents one far endpoint, a virtual address
// and port, by a loopback socket of the supervisor. The supervisor sends to the endpoint
// what programs send to the flow, and sends from the flow what the endpoint sends.
// Programs' connected sockets thus work without trapped calls, and poll(2), queues and
// SO_RCVTIMEO are the kernel's.
//
// A flow has its socket as long as a program's socket is connected to it. A flow that
// only unconnected sockets use loses its socket after flowIdle, or when other flows need
// one. The flow and its address remain: programs may have datagrams from that address in
// their queues. When a program sends there, the flow gets a socket again.
type flows struct {
	mu      sync.Mutex
	byPeer  map[netip.AddrPort]*flow // by the far endpoint
	byLocal map[netip.AddrPort]*flow // by the flow's loopback address
	// flows with a socket, by the token in events of poll
	byToken map[uint64]*flow
	last    uint64    // token
	poll    *flowPoll // nil until there is a flow
	closed  bool

	pins map[uint64]pin // programs' connected sockets, by SO_COOKIE
	// flows with a socket and no pins, by far host, the least recently used first
	loose   map[netip.Addr]*list.List
	looses  int         // number of flows in loose
	dormant list.List   // flows without a socket, the least recently used first
	sweeper *time.Timer // runs while there are flows

	// bound has the kernel addresses of the programs' sockets that are not at an alias,
	// by wildcard and port. A socket that was bound to port 0, or never, has a port of
	// the host.
	bound map[netip.AddrPort]netip.AddrPort

	// egressSockets has the egressSocket of each program's socket at an alias, by its
	// kernel address.
	egressSockets map[netip.AddrPort]*egressSocket
}

type flow struct {
	peer  netip.AddrPort // virtual
	local netip.AddrPort // loopback

	open  sync.RWMutex // held for reading while the socket is used
	fd    int          // -1: dormant
	tells bool         // the socket reports TTL and TOS; only serveFlow uses it

	busy atomic.Bool // a datagram of the flow is being forwarded

	// Guarded by flows.mu:
	token       uint64
	used        time.Time
	pins        int           // programs' sockets that are connected to it
	place       *list.Element // in flows.loose or flows.dormant; nil if it has pins
	holders     []holder      // sockets that sent there lately, the last one last
	unreachable bool          // the last error was that the host does not exist

	translated atomic.Bool // the endpoint's last datagram came over IPv6, see family.go
	refusing   sync.Mutex  // held while the flow refuses
}

// A pin is a program's socket that is connected to a flow.
type pin struct {
	fl    *flow
	local netip.AddrPort // the socket's kernel address
}

const (
	// flowIdle is how long a flow keeps its socket while no program's socket is connected
	// to it. RFC 4787 section 4.3 requires at least 2 minutes for a mapping.
	flowIdle = 2 * time.Minute
	// flowSweep is how often idle flows are looked for.
	flowSweep = 30 * time.Second
	// maxDormant bounds the flows without a socket, of some 500 bytes each.
	maxDormant = 8192
)

// mostLoose bounds the flows that have a socket and no program's socket connected to it:
// a quarter of the process's descriptors, and half of the ports of an alias.
var mostLoose = sync.OnceValue(func() int {
	return min(newBudget().files/4, flowPorts/2)
})

// flowTo returns the flow of a far endpoint, with a socket, and makes it if necessary. by
// is the program's socket that will send there, if there is one.
func (u *udp) flowTo(peer netip.AddrPort, by holder) (*flow, error) {
	f := &u.flows
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, net.ErrClosed
	}
	fl, ok := f.byPeer[peer]
	if ok && fl.token != 0 {
		f.usedLocked(fl)
		fl.heldLocked(by)
		return fl, nil
	}
	if err := f.startLocked(u); err != nil {
		return nil, err
	}
	if ok { // so that makeRoomLocked does not drop this one
		f.dormant.MoveToBack(fl.place)
	}
	f.makeRoomLocked(peer.Addr())
	alias := u.Aliases.Datagram
	if peer.Addr().Is6() {
		alias = u.Aliases.Datagram6
	}
	if ok && errors.Is(f.openLocked(fl, alias, fl.local.Port()), unix.EADDRINUSE) {
		f.forgetLocked(fl) // another socket has its port now
		ok = false
	}
	if !ok {
		fl = &flow{peer: peer, fd: -1}
		if err := f.openLocked(fl, alias, 0); err != nil {
			return nil, err
		}
		f.byPeer[peer] = fl
		f.byLocal[fl.local] = fl
	}
	if fl.token == 0 {
		return nil, fmt.Errorf("flow to %v: %w", peer, unix.ENOBUFS)
	}
	fl.heldLocked(by)
	return fl, nil
}

// startLocked starts what all flows share, before the first one.
func (f *flows) startLocked(u *udp) error {
	if f.poll != nil {
		return nil
	}
	p, err := newFlowPoll()
	if err != nil {
		return err
	}
	f.poll = p
	f.byPeer = make(map[netip.AddrPort]*flow)
	f.byLocal = make(map[netip.AddrPort]*flow)
	f.byToken = make(map[uint64]*flow)
	f.pins = make(map[uint64]pin)
	f.loose = make(map[netip.Addr]*list.List)
	f.sweeper = time.AfterFunc(flowSweep, u.sweepFlows)
	u.tasks.Go(func() { u.serveFlows(p) })
	return nil
}

// The ports of flows are chosen at random from Linux's own ephemeral ports
// (ip_local_port_range, ip(7)); bindFlowTries bounds the search for a free one.
const (
	bindFlowTries = 32
	firstFlowPort = 32768
	flowPorts     = 28232
)

// openLocked opens a flow's socket at a port of an alias. If port is 0, it chooses one
// itself instead of the kernel, because only a port that was asked for survives the
// disconnect in refuse (udp(7)). It avoids ports that flows have used recently: a
// program's socket may still be connected there.
func (f *flows) openLocked(fl *flow, alias netip.Addr, port uint16) error {
	tries := bindFlowTries
	if port != 0 {
		tries = 1
	}
	const typ = unix.SOCK_DGRAM | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := linux.Socket(unix.AF_INET, typ, 0)
	if errors.Is(err, unix.EMFILE) && f.takeOneLocked(fl.peer.Addr()) {
		fd, err = linux.Socket(unix.AF_INET, typ, 0)
	}
	if err != nil {
		return fmt.Errorf("flow to %v: %w", fl.peer, err)
	}
	local := netip.AddrPortFrom(alias, port)
	for range tries {
		if port == 0 {
			local = netip.AddrPortFrom(alias, uint16(firstFlowPort+rand.IntN(flowPorts)))
			if _, taken := f.byLocal[local]; taken {
				err = unix.EADDRINUSE
				continue
			}
		}
		if err = bindTo(fd, unix.AF_INET, local); !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	if err == nil {
		err = linux.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVERR, 1)
	}
	if err == nil {
		err = f.poll.add(fd, f.last+1)
	}
	if err != nil {
		linux.Close(fd)
		return fmt.Errorf("flow to %v: %w", fl.peer, err)
	}
	f.unplaceLocked(fl)
	f.last++
	if fl.local != local {
		fl.local = local
	}
	fl.token = f.last
	f.byToken[fl.token] = fl
	fl.open.Lock()
	fl.fd, fl.tells = fd, false
	fl.open.Unlock()
	f.placeLocked(fl)
	fl.used = time.Now()
	return nil
}

// closeLocked closes a flow's socket.
func (f *flows) closeLocked(fl *flow) {
	f.unplaceLocked(fl)
	delete(f.byToken, fl.token)
	fl.token = 0
	fl.open.Lock()
	linux.Close(fl.fd)
	fl.fd = -1
	fl.open.Unlock()
	f.placeLocked(fl)
	if f.dormant.Len() > maxDormant {
		f.forgetLocked(f.dormant.Front().Value.(*flow))
	}
}

// forgetLocked drops a dormant flow.
func (f *flows) forgetLocked(fl *flow) {
	f.unplaceLocked(fl)
	delete(f.byPeer, fl.peer)
	delete(f.byLocal, fl.local)
}

// placeLocked puts a flow at the end of the list for its state, as the most recently used
// one.
func (f *flows) placeLocked(fl *flow) {
	switch {
	case fl.token == 0:
		fl.place = f.dormant.PushBack(fl)
	case fl.pins == 0:
		host := fl.peer.Addr()
		if f.loose[host] == nil {
			f.loose[host] = list.New()
		}
		fl.place = f.loose[host].PushBack(fl)
		f.looses++
	}
}

func (f *flows) unplaceLocked(fl *flow) {
	switch host := fl.peer.Addr(); {
	case fl.place == nil:
		return
	case fl.token == 0:
		f.dormant.Remove(fl.place)
	default:
		f.loose[host].Remove(fl.place)
		if f.loose[host].Len() == 0 {
			delete(f.loose, host)
		}
		f.looses--
	}
	fl.place = nil
}

// usedLocked records that a flow with a socket is used.
func (f *flows) usedLocked(fl *flow) {
	fl.used = time.Now()
	if fl.place != nil && fl.token != 0 {
		f.loose[fl.peer.Addr()].MoveToBack(fl.place)
	}
}

// makeRoomLocked closes the socket of a flow without pins if there are too many: of the
// host with the most such flows, the least recently used one. A host that sends from many
// ports thus loses sockets of its own flows.
func (f *flows) makeRoomLocked(host netip.Addr) {
	if f.looses >= mostLoose() {
		f.takeOneLocked(host)
	}
}

// takeOneLocked closes the socket of one flow without pins, if there is any.
func (f *flows) takeOneLocked(host netip.Addr) (took bool) {
	most := f.loose[host]
	for _, l := range f.loose {
		if most == nil || l.Len() > most.Len() {
			most = l
		}
	}
	if most == nil {
		return false
	}
	f.closeLocked(most.Front().Value.(*flow))
	return true
}

// pin records that a program's socket is connected to the flow at a loopback address, if
// a flow has that address. It returns false if the flow has lost its socket meanwhile.
func (u *udp) pin(s *progSocket, kernel netip.AddrPort) bool {
	id, err := s.cookie()
	if err != nil {
		return true
	}
	local, _, err := s.localName()
	if err != nil {
		return true
	}
	f := &u.flows
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unpinLocked(id)
	if a := kernel.Addr(); a != u.Aliases.Datagram && a != u.Aliases.Datagram6 {
		return true // not a flow, for example the resolver
	}
	fl, ok := f.byLocal[kernel]
	if !ok || fl.token == 0 {
		return false
	}
	f.unplaceLocked(fl)
	fl.pins++
	f.pins[id] = pin{fl, unmapped(local.Addr)}
	return true
}

// unpin records that a program's socket has closed, or is connected elsewhere.
func (f *flows) unpin(id uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.unpinLocked(id)
}

func (f *flows) unpinLocked(id uint64) {
	p, ok := f.pins[id]
	if !ok {
		return
	}
	delete(f.pins, id)
	if p.fl.pins--; p.fl.pins == 0 && p.fl.place == nil {
		f.placeLocked(p.fl)
	}
}

// checkPins asks the kernel for the programs' connected sockets, because it does not
// report the end of every socket, and unpins the flows of those that have closed.
func (u *udp) checkPins() {
	if !u.diag.HasUDP() {
		return
	}
	f := &u.flows
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, p := range f.pins {
		if _, found, err := u.diag.Datagram(p.local, p.fl.local); err == nil && !found {
			f.unpinLocked(id)
		}
	}
}

// sweepFlows closes the sockets of idle flows.
func (u *udp) sweepFlows() {
	u.checkPins()
	f := &u.flows
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return
	}
	f.expireLocked(time.Now().Add(-flowIdle))
	f.sweeper.Reset(flowSweep)
}

// expireLocked closes the sockets of flows that were not used since a time.
func (f *flows) expireLocked(since time.Time) {
	for _, l := range f.loose {
		for e := l.Front(); e != nil && e.Value.(*flow).used.Before(since); e = l.Front() {
			f.closeLocked(e.Value.(*flow))
		}
	}
}

// connectedTo returns the far endpoint to which the program's socket at a kernel address
// is connected.
func (f *flows) connectedTo(kernel netip.AddrPort) (peer netip.AddrPort, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.pins {
		if p.local == kernel {
			return p.fl.peer, true
		}
	}
	return netip.AddrPort{}, false
}

// peerOf returns the far endpoint of a flow's loopback address.
func (f *flows) peerOf(local netip.AddrPort) (netip.AddrPort, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl, ok := f.byLocal[local]
	if !ok {
		return netip.AddrPort{}, false
	}
	return fl.peer, true
}

// has reports whether a far endpoint has a flow.
func (f *flows) has(peer netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byPeer[peer] != nil
}

// used reports whether any flow was ever made.
func (f *flows) used() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byPeer != nil
}

// isUnreachableHost reports whether the last error of the flow at a loopback address was
// that its host does not exist.
func (f *flows) isUnreachableHost(local netip.AddrPort) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl, ok := f.byLocal[local]
	return ok && fl.unreachable
}

// idle reports whether everything that programs have sent was forwarded.
func (f *flows) idle() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, fl := range f.byToken {
		if fl.queued() > 0 {
			return false
		}
	}
	return f.poll == nil || !f.poll.busy.Load()
}

// close ends every flow, and the goroutines that serve them.
func (f *flows) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for _, fl := range f.byToken {
		f.closeLocked(fl)
	}
	if f.poll != nil {
		f.sweeper.Stop()
		f.poll.file.Close()
	}
	for _, o := range f.egressSockets {
		o.conn.Close()
	}
}

// control has f use the flow's socket. It fails with net.ErrClosed if there is none.
func (fl *flow) control(f func(fd int) error) error {
	fl.open.RLock()
	defer fl.open.RUnlock()
	if fl.fd < 0 {
		return net.ErrClosed
	}
	return f(fl.fd)
}
