package syscalls

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// udpClients has the programs' UDP sockets that are connected to a port of localhost. A
// connected socket sends without a trapped call, and the kernel delivers its datagrams.
// But the alias that serves a port of localhost changes: a server may start after its
// client, or be replaced by one at another address or by the host's. When a program's
// server at that port starts or ends, the supervisor therefore connects the clients anew.
type udpClients struct {
	mu     sync.Mutex // held from the choice of the way until the socket is connected
	byPort map[uint16]map[uint64]udpClient
	ports  map[uint64]uint16 // by SO_COOKIE
}

// A udpClient is a connected socket; byPort has it by its cookie.
type udpClient struct {
	by     holder // the thread and descriptor that connected it
	inode  uint64 // as in /proc/PID/fd
	dst    netip.AddrPort
	kernel netip.AddrPort // where it is connected to
}

// maxUDPClients bounds the clients of a port if the kernel does not report the end of
// sockets.
const maxUDPClients = 64

func (u *udpClients) noteLocked(id uint64, c udpClient, limit int) {
	u.dropLocked(id)
	port := c.dst.Port()
	if u.byPort == nil {
		u.byPort = make(map[uint16]map[uint64]udpClient)
		u.ports = make(map[uint64]uint16)
	}
	if u.byPort[port] == nil {
		u.byPort[port] = make(map[uint64]udpClient)
	}
	for old := range u.byPort[port] {
		if limit == 0 || len(u.byPort[port]) < limit {
			break
		}
		delete(u.byPort[port], old)
		delete(u.ports, old)
	}
	u.byPort[port][id] = c
	u.ports[id] = port
}

func (u *udpClients) dropLocked(id uint64) {
	port, ok := u.ports[id]
	if !ok {
		return
	}
	delete(u.ports, id)
	delete(u.byPort[port], id)
	if len(u.byPort[port]) == 0 {
		delete(u.byPort, port)
	}
}

// drop drops a socket that has closed, or is about to be connected anew.
func (u *udpClients) drop(id uint64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.dropLocked(id)
}

// known returns the cookies of the sockets.
func (u *udpClients) known() []uint64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return slices.Collect(maps.Keys(u.ports))
}

// connectClient connects a program's UDP socket to a port of localhost: to a program of
// the node, or to the host if no program has the port.
func (u *udp) connectClient(c Call, s *progSocket, dst netip.AddrPort) error {
	clients := &u.clients
	clients.mu.Lock()
	defer clients.mu.Unlock()
	by := holderOf(c)
	kernel, ok, err := u.datagramWay(s, dst, by)
	if err != nil {
		return err
	}
	if !ok {
		kernel = dst
	}
	if s.domain == unix.AF_INET { // no other socket of the node has its port
		if err := u.showSender(s); err != nil {
			return err
		}
	}
	if err := s.connectTo(kernel); err != nil {
		return err
	}
	var st unix.Stat_t
	id, err := s.cookie()
	peer, ok, err2 := s.peerName()
	if err != nil || err2 != nil || !ok || u.CopyFD == nil ||
		unix.Fstat(s.fd, &st) != nil {
		return nil // it stays connected
	}
	u.flows.unpin(id)
	limit := 0
	if u.sockets.isDeaf() {
		limit = maxUDPClients
	}
	clients.noteLocked(id, udpClient{by: by, inode: st.Ino, dst: dst,
		kernel: unmapped(peer.Addr)}, limit)
	return nil
}

// reconnectLocal connects the clients of a port of localhost anew, because the port's
// server has changed.
func (u *udp) reconnectLocal(port uint16) { u.reconnectThose(port, nil) }

// refusedFor is how long clients of localhost stay connected to a server's socket that
// has closed. A client that sends in that time must see the refusal, and the kernel
// cannot report it to a socket that is connected elsewhere meanwhile.
const refusedFor = 50 * time.Millisecond

// leaveClosed connects the clients of a port of localhost anew, refusedFor after the
// kernel has reported the end of a server's socket. It skips clients of another server
// that still exists.
func (u *udp) leaveClosed(port uint16) {
	if len(u.clients.of(port)) == 0 {
		return
	}
	u.tasks.Go(func() {
		select {
		case <-time.After(refusedFor):
			u.reconnectThose(port, func(c udpClient) bool {
				return !u.ports.listensAt(c.kernel)
			})
		case <-u.ctx.Done():
		}
	})
}

// reconnectThose connects those clients of a port of localhost anew for which want
// returns true, or all if want is nil.
func (u *udp) reconnectThose(port uint16, want func(udpClient) bool) {
	lost := make(map[uint64]udpClient)
	for id, c := range u.clients.of(port) {
		if want != nil && !want(c) {
			continue
		}
		if !u.reconnect(id, c.by) {
			lost[id] = c
		}
	}
	if len(lost) == 0 {
		return
	}
	for id, by := range u.findClients(lost) {
		u.reconnect(id, by)
	}
}

// of returns the clients of a port.
func (u *udpClients) of(port uint16) map[uint64]udpClient {
	u.mu.Lock()
	defer u.mu.Unlock()
	return maps.Clone(u.byPort[port])
}

// reconnect connects one client anew. by has its socket; reconnect returns false if that
// is no longer true.
func (u *udp) reconnect(id uint64, by holder) bool {
	clients := &u.clients
	clients.mu.Lock()
	defer clients.mu.Unlock()
	c, ok := clients.byPort[clients.ports[id]][id]
	if !ok {
		return true // the socket has closed, or is connected elsewhere
	}
	s, err := u.copyIf(id, by)
	if err != nil {
		return false
	}
	defer s.close()
	c.by = by
	if err := u.moveClient(s, &c); err != nil {
		u.Logger.Debug("connect a program's UDP client anew", "to", c.dst, "err", err)
	}
	clients.byPort[c.dst.Port()][id] = c
	return true
}

// lostClients returns the clients of a port whose sockets cannot be copied from the
// thread that connected them: it has ended, or has moved the socket to another
// descriptor.
func (u *udp) lostClients(port uint16) map[uint64]udpClient {
	var lost map[uint64]udpClient
	for id, c := range u.clients.of(port) {
		s, err := u.copyIf(id, c.by)
		if err == nil {
			s.close()
			continue
		}
		if lost == nil {
			lost = make(map[uint64]udpClient)
		}
		lost[id] = c
	}
	return lost
}

// findClients looks for lost clients' sockets among the descriptors of all processes.
// That takes milliseconds, so the receiving goroutine must not call it. It returns the
// processes that have them, stores those in the table, and drops the clients that no
// process has.
func (u *udp) findClients(lost map[uint64]udpClient) map[uint64]holder {
	inodes := make(map[uint64]uint64, len(lost)) // cookies by inode
	for id, c := range lost {
		inodes[c.inode] = id
	}
	found := make(map[uint64]holder)
	eachSocket(func(inode uint64, h holder) (more bool) {
		id, ok := inodes[inode]
		if !ok || found[id] != (holder{}) {
			return true
		}
		if s, err := u.copyIf(id, h); err == nil {
			s.close()
			found[id] = h
		}
		return len(found) < len(lost)
	})
	clients := &u.clients
	clients.mu.Lock()
	defer clients.mu.Unlock()
	for id, c := range lost {
		c, ok := clients.byPort[c.dst.Port()][id]
		h, there := found[id]
		switch {
		case ok && there:
			c.by = h
			clients.byPort[c.dst.Port()][id] = c
		case ok:
			u.Logger.Debug("a program's UDP client is not to be found", "of", c.dst)
			clients.dropLocked(id)
		}
	}
	return found
}

// eachSocket calls f with the sockets of all other processes, as proc(5) shows them,
// until f returns false.
func eachSocket(f func(inode uint64, h holder) (more bool)) {
	processes, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, p := range processes {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		dir := filepath.Join("/proc", p.Name(), "fd")
		descriptors, err := os.ReadDir(dir)
		if err != nil {
			continue // the process has ended, or runs as another user
		}
		for _, d := range descriptors {
			fd, err1 := strconv.Atoi(d.Name())
			to, err2 := os.Readlink(filepath.Join(dir, d.Name()))
			number, isSocket := strings.CutPrefix(to, "socket:[")
			inode, err3 := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 64)
			if errors.Join(err1, err2, err3) == nil && isSocket &&
				!f(inode, holder{pid, fd}) {
				return
			}
		}
	}
}

// copyIf copies a descriptor if it is of the socket with a cookie.
func (u *udp) copyIf(id uint64, h holder) (*progSocket, error) {
	fd, err := u.CopyFD(h.tid, h.fd)
	if err != nil {
		return nil, err
	}
	s := &progSocket{fd: fd}
	if got, err := s.cookie(); err != nil || got != id {
		s.close()
		return nil, os.ErrNotExist
	}
	return s, nil
}

// moveClient connects a client's socket to the current server of its destination.
func (u *udp) moveClient(s *progSocket, c *udpClient) error {
	peer, ok, err := s.peerName()
	if err != nil || !ok || unmapped(peer.Addr) != c.kernel {
		return err // the program has dissolved the association
	}
	domain, _, err := s.kind()
	if err != nil {
		return err
	}
	kernel, ok, err := u.datagramRoute(s, c.by, c.dst)
	if err != nil {
		return err
	}
	if !ok && c.kernel.Addr().Is4() && domain == unix.AF_INET6 && c.dst.Addr().Is6() {
		return nil // the aliases are IPv4, and cannot reach the host's ::1
	}
	if !ok {
		kernel = c.dst
	}
	kernel = netip.AddrPortFrom(localhostOf(kernel.Addr()), kernel.Port())
	if kernel == c.kernel {
		return nil
	}
	if err := u.leaveLoopback6(s); err != nil {
		return err
	}
	if _, _, err := u.datagramWay(s, c.dst, c.by); err != nil {
		return err
	}
	if err := s.connectTo(kernel); err != nil {
		return err
	}
	peer, _, err = s.peerName()
	c.kernel = unmapped(peer.Addr)
	return err
}

// leaveLoopback6 rebinds a socket that the kernel has bound to ::1 to its port on all
// addresses: from ::1 it cannot reach the aliases, which are IPv4.
func (u *udp) leaveLoopback6(s *progSocket) error {
	local, _, err := s.localName()
	if err != nil || local.Addr.Addr() != netip.IPv6Loopback() {
		return err
	}
	if err := s.disconnect(); err != nil {
		return err
	}
	any := netip.AddrPortFrom(netip.IPv6Unspecified(), local.Addr.Port())
	return u.bindHost(s, abi.Sockaddr{Addr: any, V6: true})
}
