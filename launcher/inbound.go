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

// inbounds are the streams of each peer from which this node's programs have not read
// everything yet. A peer asks for that before it leaves: its program has ended, and data
// that only this side's transport holds would be lost with the connection. Linux would
// deliver that data.
type inbounds struct {
	mu      sync.Mutex
	of      map[uint32]*inbound
	changed chan struct{} // closed and replaced when the last stream of a peer has ended
}

// inbound counts the streams of one peer, and what programs have read from them.
type inbound struct {
	open int           // number of streams; guarded by inbounds.mu
	read atomic.Uint64 // bytes that programs have read
}

func newInbounds() *inbounds {
	return &inbounds{of: make(map[uint32]*inbound), changed: make(chan struct{})}
}

// follow counts a stream until its incoming direction has ended: everything was read, or
// the reader has stopped. It returns the stream to use.
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

// ended removes a stream that has no more data for a program.
func (i *inbounds) ended(peer uint32, in *inbound) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if in.open--; in.open == 0 {
		delete(i.of, peer)
		close(i.changed)
		i.changed = make(chan struct{})
	}
}

// look returns the peer's inbound, or nil if it has no streams, and a channel that is
// closed when a peer's last stream ends.
func (i *inbounds) look(peer uint32) (*inbound, <-chan struct{}) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.of[peer], i.changed
}

// errStalled means that programs have read nothing of a peer's data for drainStall.
var errStalled = errors.New("the peer's program reads nothing")

// delivered waits until the programs have read everything that the peer has sent, and
// will send. It fails with errStalled if they stop reading.
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

// An inboundStream is a stream that inbounds counts. When Read returns an error or
// io.EOF, the program's socket has all bytes of the Reads before.
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

// Read implements io.Reader.
func (s inboundStream) Read(b []byte) (int, error) {
	n, err := s.Stream.Read(b)
	s.f.in.read.Add(uint64(n))
	if err != nil {
		s.end()
	}
	return n, err
}

// CloseRead implements syscalls.Stream.
func (s inboundStream) CloseRead() error {
	s.end()
	return s.Stream.CloseRead()
}

// Reset implements syscalls.Stream.
func (s inboundStream) Reset() {
	s.end()
	s.Stream.Reset()
}

// Wait implements syscalls.Stream.
func (s inboundStream) Wait() error {
	err := s.Stream.Wait()
	if err != nil {
		s.end()
	}
	return err
}

// isDeliveryQuery reports whether the peer asks by this stream whether its data was
// delivered. Such a stream is for port 0 of the peer itself, where no program can listen.
func isDeliveryQuery(h transport.Header) bool {
	return h.Destination == h.Source && h.Destination.Port() == 0 && !h.HostAddr.IsValid()
}

// answerDelivered answers a delivery query: StatusUnreachable when the programs have read
// the peer's data, StatusTimeout when they have stopped reading.
func (i *inbounds) answerDelivered(s *transport.Stream) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	defer s.OnStopSending(cancel)() // the peer does not wait any more
	if errors.Is(i.delivered(ctx, s.Peer()), errStalled) {
		s.Answer(transport.StatusTimeout)
		return
	}
	s.Answer(transport.StatusUnreachable)
}
