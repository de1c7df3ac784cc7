package syscalls

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// unreachableErrors has the sockets with a pending EHOSTUNREACH. For an address without a
// neighbour, Linux asks three times, and then reports EHOSTUNREACH from the host itself
// to a sender that wants such errors (IP_RECVERR, ip(7)). For an address that no node
// has, the kernel makes the error here as for a closed port, and boxer corrects it when
// the program reads it.
type unreachableErrors struct {
	waiting atomic.Int64 // datagrams that wait for unreachableAfter
	count   atomic.Int64
	mu      sync.Mutex
	sockets map[uint64]bool // sockets with such an error, by cookie
}

const (
	// unreachableAfter is how long Linux asks for a neighbour: mcast_solicit times
	// retrans_time, arp(7).
	unreachableAfter = 3 * time.Second
	// maxUnreachable bounds the waiting datagrams, and the table. Linux keeps few per
	// neighbour (unres_qlen).
	maxUnreachable = 64
)

// sendUnreachable handles a datagram to an address that no node has.
func (u *udp) sendUnreachable(src, dst netip.AddrPort, b []byte) {
	if u.unreachables.waiting.Add(1) > maxUnreachable {
		u.unreachables.waiting.Add(-1)
		return
	}
	quote := append([]byte(nil), b[:min(len(b), maxQuote)]...)
	u.tasks.Go(func() {
		defer u.unreachables.waiting.Add(-1)
		select {
		case <-time.After(unreachableAfter):
			u.refuseFrom(dst, src, quote, unix.EHOSTUNREACH)
		case <-u.ctx.Done():
		}
	})
}

// note records whether a socket's next error is EHOSTUNREACH.
func (a *unreachableErrors) note(s *progSocket, is bool) {
	id, err := s.cookie()
	if err != nil || !is && a.count.Load() == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	defer func() { a.count.Store(int64(len(a.sockets))) }()
	if !is {
		delete(a.sockets, id)
		return
	}
	if a.sockets == nil {
		a.sockets = make(map[uint64]bool)
	}
	for old := range a.sockets {
		if len(a.sockets) < maxUnreachable {
			break
		}
		delete(a.sockets, old) // a random one; most have closed
	}
	a.sockets[id] = true
}

// trueError returns the error that the program sees for an error that the kernel has
// returned for its UDP socket.
func (a *unreachableErrors) trueError(s *progSocket, err error) error {
	if !errors.Is(err, unix.ECONNREFUSED) || a.count.Load() == 0 {
		return err
	}
	id, cerr := s.cookie()
	if cerr != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.sockets[id] {
		return err
	}
	delete(a.sockets, id)
	a.count.Store(int64(len(a.sockets)))
	return unix.EHOSTUNREACH
}

// socketError answers getsockopt(2) with SO_ERROR for a UDP socket that has
// such an error.
func (u *udp) socketError(c Call) reply {
	return onSocket(c, func(s *progSocket) reply {
		if ok, err := s.isUDP(); err != nil || !ok {
			return passthrough
		}
		v, err := linux.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			return passthrough
		}
		err = u.unreachables.trueError(s, unix.Errno(v))
		return fail(writeIntOption(c, uint32(Errno(err))))
	})
}
