package syscalls

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// A DirectDial is a connection of a program's that the kernel's TCP is to carry to
// another host. The program's own socket connects to To. The caller calls Cancel, or else
// Begin and then one of Established, Stream and Reset.
type DirectDial interface {
	// To returns where on the network between the hosts the far side's socket is.
	To() netip.AddrPort
	// MSS returns the bytes of a segment at most (TCP_MAXSEG, tcp(7)); 0: no limit.
	MSS() int
	// Within returns how long the connect may take. polls says that the program may
	// poll the socket meanwhile.
	Within(polls bool) time.Duration
	// Begin tells the far side to connect to the kernel's port, on behalf of src, which
	// is virtual. It does not wait.
	Begin(src netip.AddrPort, port uint16) error
	// Established tells the far side that the program's socket is connected. The returned
	// function, if not nil, is to be called when the kernel has destroyed the socket,
	// with the bytes that its program has sent and received.
	Established() (ended func(sent, received uint64))
	// Stream gives TCP up: the returned stream carries the connection.
	Stream() (Stream, error)
	// Reset tells the far side that the program has given up.
	Reset()
	// Cancel ends a DirectDial that has not begun.
	Cancel()
}

// connectDirect connects an unconnected socket to another host by the kernel's TCP; ok is
// false if it has to go to the gate. The kernel of the far side gets a SYN at once and
// drops it; its node, which learns of it over the network, then opens its own end.
func (n *Node) connectDirect(c connectCall, id uint64) (r reply, ok bool) {
	n.directs.remove(id) // of an earlier connection
	if !n.directs.watched || c.own || c.domain != unix.AF_INET {
		return reply{}, false
	}
	// How many hops the other host is away, programs are not to see.
	if n.ipFields(c.fd, false) != (stream.IPFields{}) || n.minTTL(c.fd) > 0 {
		return reply{}, false
	}
	local, _, err := c.localName()
	if err != nil || !n.chosen.chooses(c.progSocket, local) || bindsToDevice(c.fd) {
		return reply{}, false
	}
	d, ok := n.Network.DialDirect(c.dst)
	if !ok {
		return reply{}, false
	}
	kept := -1 // the attempt's descriptor, where the call does not wait for it
	if !c.block {
		if kept, err = linux.Fcntl(c.fd, unix.F_DUPFD_CLOEXEC, 0); err != nil {
			d.Cancel()
			return reply{}, false
		}
	}
	p, err := n.beginDirect(c, d, id)
	if err != nil {
		n.Logger.Debug("direct connect", "dst", c.dst, "err", err)
		if kept >= 0 {
			linux.Close(kept)
		}
		return reply{}, false
	}
	s := *c.progSocket // the call, or keepUntil, keeps it open until p has ended
	attempt := &directAttempt{n: n, ctx: n.pendingConnects.start(n.ctx, p), p: p, d: d,
		s: &s, polls: !c.block}
	if !c.block {
		s.fd = kept
		n.tasks.Go(func() {
			defer s.close()
			attempt.finish()
		})
		return p.comesTo(unix.EINPROGRESS), true
	}
	if tv, err := timeout(c.fd, unix.SO_SNDTIMEO); err != nil || tv.Nano() != 0 {
		n.tasks.Go(attempt.finish)
		return n.waitForConnect(c, p, unix.EINPROGRESS), true
	}
	r = async(func(context.Context, Call) reply {
		attempt.finish()
		return n.connectResult(c, p)
	})
	r.ends = p.ends()
	return r, true
}

// bindsToDevice reports whether a socket is bound to a device (SO_BINDTODEVICE,
// socket(7)). The node's interface is loopback to the kernel.
func bindsToDevice(fd int) bool {
	var name [unix.IFNAMSIZ]byte
	size, err := linux.Getsockopt(fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, name[:])
	return err != nil || size > 0
}

// beginDirect starts the connect of the program's socket and tells the far side. After an
// error the socket is as before, and d is ended.
func (n *Node) beginDirect(c connectCall, d DirectDial,
	id uint64) (p *pendingConnect, err error) {
	defer func() {
		if err != nil {
			d.Cancel()
		}
	}()
	if err := n.chosen.forget(c.progSocket); err != nil {
		return nil, err
	}
	if mss := d.MSS(); mss > 0 {
		if err := limitMSS(c.fd, mss); err != nil {
			return nil, err
		}
	}
	if err := c.connectNow(d.To()); !errors.Is(err, unix.EINPROGRESS) {
		linux.Disconnect(c.fd)
		c.renamed()
		return nil, fmt.Errorf("connect to %v: %w", d.To(), err)
	}
	local, _, err := c.localName()
	if err == nil {
		p = &pendingConnect{id: id, program: unmapped(local.Addr), gate: d.To(),
			src: netip.AddrPortFrom(n.addrFor(c.dst.Addr()), local.Addr.Port()),
			dst: c.dst}
		err = d.Begin(p.src, p.program.Port())
	}
	if err != nil {
		linux.Disconnect(c.fd)
		c.renamed()
		return nil, err
	}
	n.directs.add(id, directConn{kernelEnds{p.program, p.gate}, p.src, p.dst, nil})
	return p, nil
}

// defaultMSS is what TCP_MAXSEG says of an unconnected socket whose program has not set
// it (TCP_MSS_DEFAULT of include/net/tcp.h).
const defaultMSS = 536

// limitMSS bounds the segments of an unconnected socket, unless its program has bounded
// them more.
func limitMSS(fd, mss int) error {
	own, err := linux.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG)
	if err != nil || own < mss && own != defaultMSS {
		return err
	}
	return linux.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, mss)
}

// A directAttempt is a connect of a program's socket to another host.
type directAttempt struct {
	n   *Node
	ctx context.Context // ends when the program gives up
	p   *pendingConnect
	d   DirectDial
	s   *progSocket

	polls bool // the call does not wait, so that the program may poll the socket
}

// finish waits for the end of the connect. Where it does not come, or is not the one that
// is wanted, the socket connects to the gate after all. To the program that is one
// connect that takes longer.
func (a *directAttempt) finish() {
	defer a.p.cancel()
	timer := time.NewTimer(a.d.Within(a.polls))
	defer timer.Stop()
	err := a.n.readiness.waitEither(a.ctx, a.s.fd, unix.POLLOUT, timer.C, -1)
	switch state, serr := a.s.state(); {
	case err != nil && !errors.Is(err, unix.EAGAIN): // given up
		a.d.Reset()
		a.n.pendingConnects.succeed(a.p)
	// SYN_RECV: the far side's SYN has come, but no ACK of this side's.
	case serr == nil && state != tcpSynSent && state != tcpSynRecv && state != tcpClose:
		a.n.directs.onEnd(a.p.id, a.d.Established())
		a.n.pendingConnects.succeed(a.p)
	default:
		a.fallBack()
	}
}

// fallBack connects the program's socket to the gate, and lets it through.
func (a *directAttempt) fallBack() {
	n, p := a.n, a.p
	far, err := a.d.Stream()
	if err != nil {
		p.errno = Errno(err)
	}
	if e := a.toGate(); e != nil {
		n.Logger.Debug("connect to gate instead", "dst", p.dst, "err", e)
		if far != nil {
			far.Reset()
		}
		n.pendingConnects.fail(p, Errno(e), func() error { return nil })
		return
	}
	if err != nil {
		n.refuseConnect(p, err)
		return
	}
	if err := n.establish(far, p); err == nil || Errno(err) == unix.ECONNREFUSED {
		n.pendingConnects.succeed(p)
	} else {
		n.refuseConnect(p, err)
	}
}

// toGate connects the program's socket to the gate, from the port that the far side knows
// already.
func (a *directAttempt) toGate() error {
	n, p, s := a.n, a.p, a.s
	alias := netip.AddrPortFrom(n.publicFor(p.dst.Addr()), p.src.Port())
	gate := n.gates.to(p.dst.Addr()).towards(p.dst)
	n.directs.remove(p.id)
	n.chosen.add(p.id, false)
	if a.d.MSS() > 0 {
		linux.SetsockoptInt(s.fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, 0)
	}
	clearError(s.fd)
	p.program, p.gate = alias, gate
	// Disconnecting wakes the program if it polls the socket, and between these calls it
	// would find it hung up: that are some three microseconds.
	err := withoutWaiting(s.fd, func() error {
		if err := linux.Disconnect(s.fd); err != nil {
			return fmt.Errorf("disconnect: %w", err)
		}
		if err := bindTo(s.fd, s.domain, alias); err != nil {
			return fmt.Errorf("bind to %v: %w", alias, err)
		}
		return connectTo(s.fd, s.domain, gate)
	})
	s.renamed()
	if !errors.Is(err, unix.EINPROGRESS) {
		return fmt.Errorf("connect to gate: %w", err)
	}
	return nil
}
