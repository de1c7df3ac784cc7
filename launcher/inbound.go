package launcher

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// inbounds are the streams from each peer whose bytes are not all with this node's
// programs yet. A peer whose program has ended asks for that before it leaves: what this
// side's transport holds is lost with the connection, and Linux would deliver it.
type inbounds struct {
	mu      sync.Mutex
	of      map[uint32]*inbound
	changed chan struct{} // closed, and replaced, when a peer has no such stream any more
}

// inbound is what comes from one peer.
type inbound struct {
	open int           // streams; guarded by inbounds.mu
	read atomic.Uint64 // bytes that went on to programs
}

func newInbounds() *inbounds {
	return &inbounds{of: make(map[uint32]*inbound), changed: make(chan struct{})}
}

// follow returns the stream such that its incoming direction is known until all of it has
// been read, or nobody reads it any more.
func (i *inbounds) follow(s *transport.Stream) inboundStream {
	i.mu.Lock()
	defer i.mu.Unlock()
	in := i.of[s.Peer()]
	if in == nil {
		in = &inbound{}
		i.of[s.Peer()] = in
	}
	in.open++
	return inboundStream{s, &following{all: i, in: in}}
}

// ended says that a stream has nothing more for a program.
func (i *inbounds) ended(peer uint32, in *inbound) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if in.open--; in.open == 0 {
		delete(i.of, peer)
		close(i.changed)
		i.changed = make(chan struct{})
	}
}

// look returns the peer's inbound, nil if it has none, and a channel that is closed when
// that may have changed.
func (i *inbounds) look(peer uint32) (*inbound, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.of[peer], i.changed
}

// errStalled means that programs have not read what a peer sent for drainStall.
var errStalled = errors.New("the peer's program reads nothing")

// delivered waits until the programs have all that the peer has sent so far and later. It
// fails with errStalled when they stop reading.
func (i *inbounds) delivered(ctx context.Context, peer uint32) error {
	stall := time.NewTimer(drainStall)
	defer stall.Stop()
	var before uint64
	for {
		in, changed := i.look(peer)
		if in == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-stall.C:
			now := in.read.Load()
			if now == before {
				return errStalled
			}
			before = now
			stall.Reset(drainStall)
		}
	}
}

var _ syscalls.Stream = inboundStream{}

// An inboundStream is a stream whose incoming direction inbounds follows. A Read that
// fails or ends tells that all bytes before are where they belong.
type inboundStream struct {
	*transport.Stream
	f *following
}

type following struct {
	all  *inbounds
	in   *inbound
	over atomic.Bool
}

func (s inboundStream) end() {
	if s.f.over.CompareAndSwap(false, true) {
		s.f.all.ended(s.Peer(), s.f.in)
	}
}

// Read is transport.Stream's.
func (s inboundStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.f.in.read.Add(uint64(n))
	if err != nil {
		s.end()
	}
	return n, err
}

// CloseRead is transport.Stream's.
func (s inboundStream) CloseRead() error {
	s.end()
	return s.Stream.CloseRead()
}

// Reset is transport.Stream's.
func (s inboundStream) Reset() {
	s.end()
	s.Stream.Reset()
}

// Wait is transport.Stream's.
func (s inboundStream) Wait() error {
	err := s.Stream.Wait()
	if err != nil {
		s.end()
	}
	return err
}

// isDeliveryQuery reports whether a stream asks whether all is delivered: it is for port
// 0 of the peer itself, where nobody can listen.
func isDeliveryQuery(h transport.Header) bool {
	return h.Destination == h.Source && h.Destination.Port() == 0 && !h.HostAddr.IsValid()
}

// answerDelivered answers such a stream when the programs have what the peer has sent:
// unreachable, as nobody listens there; or timeout when they stop reading.
func (i *inbounds) answerDelivered(s *transport.Stream) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer s.OnStopSending(cancel)() // the peer has given up
	if errors.Is(i.delivered(ctx, s.Peer()), errStalled) {
		s.Answer(transport.StatusTimeout)
		return
	}
	s.Answer(transport.StatusUnreachable)
}
