package syscalls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// AcceptDirect is Accept for a connection that the kernel's TCP is to carry. open opens
// this side's socket, of the domain AF_INET or AF_INET6, and does not wait; await waits
// for what the far side says of its own: established, or that the connection comes over
// the stream. In the latter case over is false, and the caller goes on as for any stream.
// ended, if not nil, is called when the kernel has destroyed this side's socket.
//
// The listener turns readable by a connection over loopback, as with any other one.
// accept(2) takes that one off the queue and hands the real one to the program.
func (n *Node) AcceptDirect(ctx context.Context, src, dst netip.AddrPort,
	open func(domain int) (fd int, err error),
	await func() (established bool, ended func(sent, received uint64), err error),
) (over bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.ctx, cancel)()
	fd, give, err := n.openDirect(src, dst, open)
	if err != nil { // the far side's connect comes to no end, and it says so
		n.Logger.Debug("direct connection", "from", src, "to", dst, "err", err)
	}
	established, ended, err := await()
	if err != nil || !established {
		if fd >= 0 {
			linux.Close(fd)
		}
		give()
		return err != nil, err
	}
	if fd < 0 {
		callEnded(ended, 0, 0)
		return true, fmt.Errorf("direct connection from %v: %w", src, unix.ECONNABORTED)
	}
	if state, err := tcpState(fd); err != nil || state == tcpSynSent {
		resetSocket(fd) // somebody else is the far side's peer
		give()
		callEnded(ended, 0, 0)
		return true, fmt.Errorf("direct connection from %v: %w", src, unix.ECONNABORTED)
	}
	if err := n.offerDirect(ctx, src, dst, fd, ended, give); err != nil {
		resetSocket(fd)
		give()
		return true, err
	}
	return true, nil
}

// openDirect opens this side's socket if the peer may have one more connection. The
// caller calls give when the connection has ended. After an error fd is negative, and
// give does nothing.
func (n *Node) openDirect(src, dst netip.AddrPort,
	open func(domain int) (fd int, err error)) (fd int, give func(), err error) {
	give, ok := n.budget.tryTake(spot{src.Addr(), dst})
	if !ok { // over the stream it waits
		return -1, func() {}, unix.EMFILE
	}
	if fd, err = open(n.listenerDomain(src, dst)); err != nil {
		give()
		return -1, func() {}, err
	}
	return fd, give, nil
}

// listenerDomain returns the domain of the sockets that the listener at dst accepts.
func (n *Node) listenerDomain(src, dst netip.AddrPort) int {
	found, _, _, err := n.acceptors(src, dst)
	if err == nil && len(found) > 0 {
		if r, ok := n.Aliases.role(found[0].kernel.Addr()); ok && (r == dual || r&v6 != 0) {
			return unix.AF_INET6
		}
	}
	return unix.AF_INET
}

// resetSocket closes a connection with RST (SO_LINGER, socket(7)).
func resetSocket(fd int) {
	unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	linux.Close(fd)
}

// A directOffer is a direct connection that waits to be accepted. A connection over
// loopback stands for it in the listener's queue.
type directOffer struct {
	n      *Node
	fd     int // the real connection's
	domain int // its socket's
	peer   netip.AddrPort
	own    netip.AddrPort // the loopback connection's end that is the supervisor's
	kernel netip.AddrPort // the listener's
	shown  Opening        // the connection's ends as the program sees them

	mu    sync.Mutex
	loop  *loopConn // the supervisor's end; nil: not there yet
	taken bool      // accept(2) has handed the real one out
}

// errOfferTaken is the error of a connection over loopback that comes too late: accept(2)
// has handed out the direct one, for which it was to stand.
var errOfferTaken = errors.New("the direct connection was accepted")

// offerDirect puts a connection into the queue of a listener. It waits as Accept does.
// It calls give when the connection has ended, unless it fails. After an error the
// caller has to close fd.
func (n *Node) offerDirect(ctx context.Context, src, dst netip.AddrPort, fd int,
	ended func(sent, received uint64), give func()) error {
	id, err := cookie(fd)
	domain, _, err2 := kind(fd)
	kernel, err3 := endsOfSocket(fd)
	if err := errors.Join(err, err2, err3); err != nil { // it has been reset
		callEnded(ended, 0, 0)
		return err
	}
	n.directs.add(id, directConn{kernel, dst, src, ended})
	o := &directOffer{n: n, fd: fd, domain: domain, peer: kernel.remote}
	loop, remove, err := n.dialFirst(ctx, Opening{Source: src, Destination: dst}, o)
	if err != nil {
		if o.own.IsValid() && !n.directs.withdraw(o) { // the program has fd already
			give()
			return nil
		}
		n.directs.remove(id)
		return err
	}
	n.relays.Add(1) // before the program can end
	n.tasks.Go(func() {
		defer give()
		defer remove()
		o.watch(loop)
	})
	return nil
}

// endsOfSocket returns the kernel's addresses of a connected socket.
func endsOfSocket(fd int) (e kernelEnds, err error) {
	local, _, err := localName(fd)
	if err != nil {
		return e, err
	}
	remote, _, err := remoteName(fd)
	if err != nil {
		return e, err
	}
	return kernelEnds{unmapped(local.Addr), unmapped(remote.Addr)}, nil
}

// offer notes an offer before its connection over loopback can be accepted. o may be nil.
// shown has the connection's ends as the program sees them. ok is false if another
// listener has got the offer.
func (d *directConns) offer(o *directOffer, own, kernel netip.AddrPort,
	shown Opening) (ok bool) {
	if o == nil {
		return true
	}
	if o.own.IsValid() && !d.withdraw(o) {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.offers == nil {
		d.offers = make(map[netip.AddrPort]*directOffer)
	}
	o.own, o.kernel, o.shown = own, kernel, shown
	d.offers[own] = o
	return true
}

// withdraw takes an offer back; ok is false if it was taken, or was never made.
func (d *directConns) withdraw(o *directOffer) (ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.offers[o.own] != o {
		return false
	}
	delete(d.offers, o.own)
	return true
}

// take returns the offer for which a connection over loopback stands, once; nil if there
// is none of that domain. Another one's loopback connection carries the bytes, as if
// nobody had seen the call.
func (d *directConns) take(relay netip.AddrPort, domain int) *directOffer {
	d.mu.Lock()
	defer d.mu.Unlock()
	o := d.offers[relay]
	if o == nil || o.domain != domain {
		return nil
	}
	delete(d.offers, relay)
	return o
}

// insteadOf returns the direct connection for which one over loopback stands that was
// accepted, or that one itself. after, if not nil, is to be called when the call was
// answered.
func (n *Node) insteadOf(loop accepted, flags int) (conn accepted, after func()) {
	if n.directs.known.Load() == 0 {
		return loop, nil
	}
	domain, _, err := kind(loop.fd)
	if err != nil {
		return loop, nil
	}
	o := n.directs.take(unmapped(loop.peer.Addr), domain)
	if o == nil {
		return loop, nil
	}
	inheritOptions(o.fd, loop.fd)
	linux.SetNonblock(o.fd, flags&unix.SOCK_NONBLOCK != 0)
	peer := abi.Sockaddr{Addr: o.peer, V6: domain == unix.AF_INET6}
	return accepted{o.fd, peer, o}, func() {
		linux.Close(loop.fd)
		o.end()
	}
}

// end closes the connection over loopback.
func (o *directOffer) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.taken = true
	if o.loop != nil {
		o.loop.Close()
	}
}

// How often an offer that waits is looked after.
const (
	offerLook    = 250 * time.Millisecond
	maxOfferLook = 4 * time.Second
)

// watch waits until the offer is taken. Where the program has accepted the connection
// over loopback by a call that nobody has trapped, that one carries the bytes.
func (o *directOffer) watch(loop *loopConn) {
	defer o.n.relays.Add(-1)
	defer context.AfterFunc(o.n.ctx, func() { loop.Close() })()
	o.mu.Lock()
	o.loop = loop
	taken := o.taken
	o.mu.Unlock()
	if taken {
		loop.Close()
		return
	}
	for look := offerLook; ; look = min(2*look, maxOfferLook) {
		loop.SetReadDeadline(time.Now().Add(look))
		err := loop.waitReadable()
		expired := errors.Is(err, os.ErrDeadlineExceeded)
		switch {
		case expired && !o.isAccepted():
			continue
		case !o.n.directs.withdraw(o): // taken
		case err != nil && !expired: // the node ends
			resetSocket(o.fd)
		default:
			loop.SetReadDeadline(time.Time{})
			o.carry(loop)
		}
		return
	}
}

// isAccepted reports whether a program has the connection over loopback.
func (o *directOffer) isAccepted() bool {
	m, found, err := o.n.diag.Connection(o.kernel, o.own)
	return err == nil && found && m.Inode != 0
}

// carry relays between the two connections.
func (o *directOffer) carry(loop *loopConn) {
	far, err := newLoopConn(o.fd)
	if err != nil {
		loop.SetLinger(0)
		loop.Close()
		return
	}
	s, err := stream.NewTCP(far)
	if err != nil {
		loop.SetLinger(0)
		loop.Close()
		return
	}
	o.n.relays.Add(1)
	o.n.relay(loop, s)
}

// waitReadable waits until there is something to read from the connection, or its end.
func (c *loopConn) waitReadable() error {
	return c.raw.Read(func(fd uintptr) bool {
		ev, err := linux.Poll(int(fd), unix.POLLIN)
		return err != nil || ev != 0
	})
}
