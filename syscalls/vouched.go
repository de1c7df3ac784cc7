package syscalls

import (
	"errors"
	"maps"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// vouched has the TCP sockets for which a supervisor vouches: those of this node's
// programs, which trapped calls have connected, and those of other nodes on this host,
// which told their cookies when they asked for a listener (ResolveLocal). Every process
// of the host can bind a socket to a node's alias. Only sockets that are vouched for
// appear at the other end as that node. They are known by cookie (SO_COOKIE, socket(7)).
type vouched struct {
	// isOpen reports whether a known socket is open between two addresses.
	isOpen func(cookie uint64, local, remote netip.AddrPort) bool

	mu    sync.Mutex
	m     map[uint64]voucher
	limit int // number of entries at which those of closed sockets are dropped
	// gone has the addresses of sockets that the kernel destroyed before their
	// connections were looked at. Such a connection can be reset before it is accepted,
	// and accept(2) must still return its peer.
	gone map[netip.AddrPort]goneSocket
	// missed is when messages of the kernel about destroyed sockets were lost. Until
	// vouchedFor after that, gone is incomplete.
	missed time.Time
}

type goneSocket struct {
	block netip.Addr
	until time.Time
}

type voucher struct {
	block         netip.Addr     // the first alias of the node that vouches
	local, remote netip.AddrPort // of the connection, once it was looked at; else zero
	since         time.Time
}

const (
	// minVouched is the least number of sockets that are kept. Each takes some 150 bytes.
	minVouched = 1 << 14
	// vouchedFor is the least time that a socket is kept whose connection was not looked
	// at: it may still wait to be accepted.
	vouchedFor = 5 * time.Minute
	// goneFor is how long the address of a destroyed socket counts as its own after it
	// was looked at. Later another process may have the port.
	goneFor = time.Second
)

// note records that the node with a block of aliases vouches for a socket.
func (v *vouched) note(cookie uint64, block netip.Addr) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.m == nil {
		v.m, v.limit = make(map[uint64]voucher), minVouched
	}
	if len(v.m) >= v.limit {
		v.pruneLocked()
		v.limit = max(minVouched, 2*len(v.m))
	}
	v.m[cookie] = voucher{block: block, since: time.Now()}
}

func (v *vouched) pruneLocked() {
	for cookie, known := range v.m {
		switch {
		case known.local.IsValid() && !v.isOpen(cookie, known.local, known.remote),
			!known.local.IsValid() && time.Since(known.since) > vouchedFor:
			delete(v.m, cookie)
		}
	}
}

// has reports whether the node with a block vouches for a socket, which connects local to
// remote.
func (v *vouched) has(cookie uint64, block netip.Addr, local,
	remote netip.AddrPort) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.m[cookie]
	if !ok || known.block != block {
		return false
	}
	known.local, known.remote = local, remote
	v.m[cookie] = known
	return true
}

// end records that the kernel has destroyed a socket that was at an address.
func (v *vouched) end(cookie uint64, at netip.AddrPort) {
	v.mu.Lock()
	defer v.mu.Unlock()
	known, ok := v.m[cookie]
	if !ok || known.local.IsValid() {
		return
	}
	now := time.Now()
	if len(v.gone) >= minVouched {
		maps.DeleteFunc(v.gone, func(_ netip.AddrPort,
			g goneSocket) bool {
			return now.After(g.until)
		})
	}
	if v.gone == nil || len(v.gone) >= minVouched {
		v.gone = make(map[netip.AddrPort]goneSocket)
	}
	v.gone[at] = goneSocket{known.block, now.Add(vouchedFor)}
}

// setMissed records that messages about destroyed sockets were lost.
func (v *vouched) setMissed() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.missed = time.Now()
}

// hadAt reports whether a socket for which the node with a block vouched was at an
// address until the kernel destroyed it, not long ago.
func (v *vouched) hadAt(at netip.AddrPort, block netip.Addr) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	g, ok := v.gone[at]
	now := time.Now()
	if !ok && now.Before(v.missed.Add(vouchedFor)) {
		// It is not known. The connection was reset, so another process gains nothing.
		return true
	}
	if !ok || g.block != block || now.After(g.until) {
		return false
	}
	if end := now.Add(goneFor); g.until.After(end) {
		g.until = end
		v.gone[at] = g
	}
	return true
}

// watchVouched handles the end of sockets that connect from nodes' own addresses.
func (n *Node) watchVouched() {
	watcher, err := linux.WatchDestroyed(fromNodes, linux.TCPDestroyed,
		linux.TCP6Destroyed)
	if err != nil {
		n.Logger.Debug("the kernel does not tell when connections end", "err", err)
		return
	}
	n.connWatcher = watcher
	n.tasks.Go(func() {
		for {
			m, err := watcher.Next()
			switch {
			case errors.Is(err, os.ErrClosed):
				return
			case errors.Is(err, linux.ErrMissed):
				n.vouched.setMissed()
				continue
			case err != nil:
				n.Logger.Warn("the kernel tells no more when connections end", "err", err)
				return
			}
			n.vouched.end(m.Cookie, unmapped(m.Addr))
		}
	})
}

// fromNodes is a socket filter that passes messages about sockets at a node's alias of
// its virtual address: 127.64.0.0/10, with 1 in the last three bits. A socket that its
// program has reset has no peer any more (tcp_disconnect in net/ipv4/tcp.c).
var fromNodes = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: linux.DiagFamily},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_INET6, Jt: 2},
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: linux.DiagSource},
	{Code: unix.BPF_JMP | unix.BPF_JA, K: 1},
	{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: linux.DiagSource + 12},
	{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: 0xffc00007},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0x7f400001, Jf: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// isVouched reports whether the peer of a TCP connection, at an alias, belongs to the
// node with the alias. kernel is the end of the node's own program. If that program made
// the connection, its peer is a listener that was looked up.
func (n *Node) isVouched(kernel, far netip.AddrPort) bool {
	if n.diag == nil {
		return true // the kernel has no sock_diag(7)
	}
	if m, found, err := n.diag.Connection(kernel, far); err == nil && found &&
		n.vouched.has(m.Cookie, n.Aliases.Wildcard, kernel, far) {
		return true
	}
	block := blockOf(far.Addr())
	if block != n.Aliases.Wildcard && n.sameHost.isOlder(block) {
		return true
	}
	m, found, err := n.diag.Connection(far, kernel)
	if err == nil && !found {
		return n.vouched.hadAt(far, block)
	}
	return err != nil || n.vouched.has(m.Cookie, block, far, kernel)
}
