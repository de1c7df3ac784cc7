package syscalls

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// A pendingConnect is one connect(2) over the network, from SYN_SENT to its end. The
// program's socket is connecting to the gate. The attempt continues when the program
// stops waiting, as on Linux.
type pendingConnect struct {
	id            uint64         // the cookie of the program's socket
	program, gate netip.AddrPort // the kernel addresses of the socket, and of the gate
	src, dst      netip.AddrPort // the ends of the connection, both virtual

	ip     stream.IPFields // of the program's packets, as the far side knows them
	minTTL uint8           // see Opening

	// high is a copy of the program's socket if that has the highest TTL, see lowered
	high *progSocket

	own bool   // dst is a listener of this node
	end func() // if not nil, called at the end of the connection's relay

	// set by start
	cancel context.CancelFunc // ends the dial over the network
	done   chan struct{}      // closed when it has ended
	errno  unix.Errno         // why it failed, or 0; valid after done
	ended  time.Time          // valid after done
	gaveUp bool               // the program has given up; guarded by pendingConnects.mu
}

// opening returns what the far side has to know.
func (p *pendingConnect) opening() Opening {
	return Opening{Source: p.src, Destination: p.dst, IP: p.ip, MinTTL: p.minTTL}
}

// gated returns the connection's ends in this host's kernel.
func (p *pendingConnect) gated() gated { return gated{p.program, p.gate} }

// ends returns the connection's ends for traces.
func (p *pendingConnect) ends() Ends { return Ends{Local: p.src, Remote: p.dst} }

// comesTo returns the reply with an errno, 0 for success.
func (p *pendingConnect) comesTo(errno unix.Errno) reply {
	r := reply{}
	if errno != 0 {
		r = fail(errno)
	}
	r.ends = p.ends()
	return r
}

// closed ends the resources that the connection has besides its relay.
func (p *pendingConnect) closed() {
	if p.end != nil {
		p.end()
	}
}

func (p *pendingConnect) hasEnded() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// pendingConnects are the attempts in progress, and the failed ones whose error the
// program has not fetched yet, by socket cookie.
type pendingConnects struct {
	mu     sync.Mutex
	m      map[uint64]*pendingConnect
	failed []*pendingConnect // in the order of their ends
}

// A program may close a socket without fetching its error. Such entries are
// dropped after errorKept, once there are maxErrors.
const (
	errorKept = time.Minute
	maxErrors = 1024
)

// forgetLocked drops old failures, the oldest first. Each failure is visited once, so the
// cost does not depend on their number.
func (a *pendingConnects) forgetLocked(now time.Time) {
	for len(a.failed) > 0 {
		p := a.failed[0]
		if a.m[p.id] == p {
			if len(a.failed) <= maxErrors || now.Sub(p.ended) <= errorKept {
				return
			}
			delete(a.m, p.id)
		}
		a.failed[0] = nil
		a.failed = a.failed[1:]
	}
}

// start begins an attempt. The returned context ends when the program gives up the
// attempt.
func (a *pendingConnects) start(ctx context.Context, p *pendingConnect) context.Context {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m == nil {
		a.m = make(map[uint64]*pendingConnect)
	}
	a.forgetLocked(time.Now())
	ctx, p.cancel = context.WithCancel(ctx)
	p.done = make(chan struct{})
	a.m[p.id] = p
	return ctx
}

// find returns the attempt of a socket, or nil.
func (a *pendingConnects) find(cookie uint64) *pendingConnect {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.m[cookie]
}

func (a *pendingConnects) empty() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.m) == 0
}

// succeed ends an attempt whose socket is established.
func (a *pendingConnects) succeed(p *pendingConnect) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m[p.id] == p {
		delete(a.m, p.id)
	}
	p.ended = time.Now()
	close(p.done)
}

// giveUp ends an attempt whose socket the program has closed or connects elsewhere: its
// outcome is not for that socket. p may be nil.
func (a *pendingConnects) giveUp(p *pendingConnect) {
	if p == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	p.gaveUp = true
	p.cancel()
}

// fail ends an attempt with an error, and calls refuse, which resets the socket; it
// returns refuse's error. takeError returns the attempt's error later. To the program
// this is one event: a thread that the reset wakes and that asks for the error waits for
// fail's lock, and a thread that waits for the attempt finds the socket in its final
// state.
func (a *pendingConnects) fail(p *pendingConnect, errno unix.Errno,
	refuse func() error) (err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p.gaveUp {
		if a.m[p.id] == p {
			delete(a.m, p.id)
		}
	} else {
		p.errno = errno
		err = refuse()
	}
	p.ended = time.Now()
	close(p.done)
	if a.m[p.id] == p {
		a.failed = append(a.failed, p)
	}
	return err
}

// takeError returns the error of a failed attempt, once, as SO_ERROR does.
func (a *pendingConnects) takeError(cookie uint64) (unix.Errno, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, ok := a.m[cookie]
	if !ok || !p.hasEnded() {
		return 0, false
	}
	delete(a.m, cookie)
	return p.errno, true
}
