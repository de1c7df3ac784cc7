package syscalls

import (
	"errors"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// directConns are the node's connections that the kernel's TCP carries from host to host.
// Their sockets have addresses of the hosts, which the programs do not know: the table
// has those that they know. A socket is known by its cookie, also after it was reset, and
// by the addresses of its ends.
type directConns struct {
	// watched says that the kernel tells of sockets that it destroys. Otherwise the table
	// would only grow.
	watched bool
	known   atomic.Int64 // sockets in the table

	mu       sync.RWMutex
	byCookie map[uint64]directConn
	byEnds   map[kernelEnds]uint64
	offers   map[netip.AddrPort]*directOffer // see AcceptDirect
}

// kernelEnds are the kernel's addresses of a connection's ends.
type kernelEnds struct{ local, remote netip.AddrPort }

// A directConn is what a program knows of a connection's ends.
type directConn struct {
	kernel    kernelEnds
	own, peer netip.AddrPort
	ended     func(sent, received uint64) // nil: nobody wants to know
}

func callEnded(ended func(sent, received uint64), sent, received uint64) {
	if ended != nil {
		ended(sent, received)
	}
}

func (d *directConns) add(cookie uint64, c directConn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byCookie == nil {
		d.byCookie = make(map[uint64]directConn)
		d.byEnds = make(map[kernelEnds]uint64)
	}
	d.removeLocked(cookie)
	d.byCookie[cookie], d.byEnds[c.kernel] = c, cookie
	d.known.Add(1)
}

// onEnd has a function called when a socket's connection has ended; nil: none.
func (d *directConns) onEnd(cookie uint64, ended func(sent, received uint64)) {
	if ended == nil {
		return
	}
	d.mu.Lock()
	c, ok := d.byCookie[cookie]
	if ok {
		c.ended = ended
		d.byCookie[cookie] = c
	}
	d.mu.Unlock()
	if !ok { // already
		ended(0, 0)
	}
}

// remove forgets a socket that connects elsewhere.
func (d *directConns) remove(cookie uint64) { d.destroyed(linux.DiagSocket{Cookie: cookie}) }

// destroyed forgets a socket that the kernel has destroyed.
func (d *directConns) destroyed(s linux.DiagSocket) {
	if d.known.Load() == 0 {
		return
	}
	d.mu.Lock()
	ended := d.byCookie[s.Cookie].ended
	d.removeLocked(s.Cookie)
	d.mu.Unlock()
	callEnded(ended, s.Sent, s.Received)
}

func (d *directConns) removeLocked(cookie uint64) {
	c, ok := d.byCookie[cookie]
	if !ok {
		return
	}
	delete(d.byCookie, cookie)
	if d.byEnds[c.kernel] == cookie {
		delete(d.byEnds, c.kernel)
	}
	d.known.Add(-1)
}

// of returns what is known of a socket.
func (d *directConns) of(s *progSocket) (c directConn, ok bool) {
	if d.known.Load() == 0 {
		return directConn{}, false
	}
	id, err := s.cookie()
	if err != nil {
		return directConn{}, false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	c, ok = d.byCookie[id]
	return c, ok
}

// between returns what is known of the connection between two kernel addresses.
func (d *directConns) between(local, remote netip.AddrPort) (c directConn, ok bool) {
	if d.known.Load() == 0 {
		return directConn{}, false
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	c, ok = d.byCookie[d.byEnds[kernelEnds{local, remote}]]
	return c, ok
}

func (d *directConns) snapshot() map[uint64]kernelEnds {
	d.mu.RLock()
	defer d.mu.RUnlock()
	all := make(map[uint64]kernelEnds, len(d.byCookie))
	for cookie, c := range d.byCookie {
		all[cookie] = c.kernel
	}
	return all
}

// watchDirect makes the node forget sockets of direct connections when the kernel
// destroys them.
func (n *Node) watchDirect() {
	if !n.Direct || n.diag == nil {
		return
	}
	watcher, err := linux.WatchDestroyed(notLoopback, linux.TCPDestroyed,
		linux.TCP6Destroyed)
	if err != nil {
		n.Logger.Debug("the kernel does not tell when direct connections end", "err", err)
		return
	}
	n.directWatcher, n.directs.watched = watcher, true
	n.tasks.Go(func() {
		for {
			m, err := watcher.Next()
			switch {
			case errors.Is(err, os.ErrClosed):
				return
			case errors.Is(err, linux.ErrMissed):
				n.directMissed()
			case err != nil:
				n.Logger.Warn("the kernel tells no more when direct connections end",
					"err", err)
				return
			default:
				n.directs.destroyed(m)
			}
		}
	})
}

// directMissed asks the kernel about each direct connection: messages were lost.
func (n *Node) directMissed() {
	for cookie, ends := range n.directs.snapshot() {
		m, found, err := n.diag.Connection(ends.local, ends.remote)
		if err == nil && (!found || m.Cookie != cookie) {
			n.directs.remove(cookie)
		}
	}
}

// notLoopback is a filter that passes the messages about sockets that are not at an
// address of 127.0.0.0/8. A socket that was reset may have no address any more.
var notLoopback = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: linux.DiagFamily},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.AF_INET6, Jt: 2},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: linux.DiagSource},
	{Code: unix.BPF_JMP | unix.BPF_JA, K: 1},
	{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: linux.DiagSource + 12},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 127, Jt: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// CanDirect reports whether the node can have direct connections on this host.
func (n *Node) CanDirect() bool { return n.directs.watched }
