package launcher

import (
	"context"
	"net/netip"
	"time"

	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// network is a member as package syscalls sees it.
type network struct{ m *member }

// Dial implements syscalls.Network.
func (n network) Dial(ctx context.Context, src, dst netip.AddrPort) (syscalls.Stream, error) {
	s, err := n.m.open(ctx, src, dst)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// acceptWithin bounds how long a listener's full backlog holds up a connection
// that comes in: Linux's clients give up after about that time (tcp(7),
// tcp_syn_retries).
const acceptWithin = 127 * time.Second

// deliver connects a stream that another node has opened with the program that
// listens, and relays until it ends.
func deliver(node *syscalls.Node, s *transport.Stream) {
	h := s.Header()
	if h.Destination.Addr() != node.Addr {
		s.Answer(transport.StatusUnreachable)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), acceptWithin)
	defer cancel()
	run, abort, err := node.Accept(ctx, h.Source, h.Destination.Port())
	if err != nil {
		node.Logger.Debug("accept", "from", h.Source, "port", h.Destination.Port(), "err", err)
		s.Answer(statusOf(syscalls.Errno(err)))
		return
	}
	if err := s.Answer(transport.StatusOK); err != nil {
		abort()
		return
	}
	run(s)
}
