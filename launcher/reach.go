package launcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/transport"
)

// Linux reports EHOSTUNREACH for a host that has not answered ARP for three seconds
// (mcast_solicit and retrans_time_ms, arp(7)). An open likewise fails when both this node
// and the coordinator have heard nothing of the peer for that long. QUIC alone would wait
// for its idle timeout.
const (
	silenceLook = 500 * time.Millisecond
	silentLooks = 5 // checks in a row without a sign of the peer
)

// A watch cancels an open to an unresponsive node.
type watch struct {
	ctx    context.Context // of the open
	m      *member
	id     uint32
	cancel context.CancelCauseFunc
	timer  *time.Timer
	silent int // checks in a row without a sign of the peer
}

// open opens a stream to the node with the header's destination.
func (m *member) open(ctx context.Context, h transport.Header) (*transport.Stream, error) {
	to, ok := m.client.ByAddr(h.Destination.Addr())
	if !ok {
		// An ordinary network answers the same for an address that no host has.
		return nil, fmt.Errorf("connect %v: no such node: %w", h.Destination,
			unix.EHOSTUNREACH)
	}
	if err := m.awaitAwake(ctx, to); err != nil {
		return nil, fmt.Errorf("connect %v: %w", h.Destination, err)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{ctx: ctx, m: m, id: to.ID, cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Reset(silenceLook) // w.timer is set, so look may run
	defer w.timer.Stop()
	s, err := m.node.Open(ctx, to.ID, h)
	if err != nil {
		if err = withErrno(err); context.Cause(ctx) == errSilent {
			err = errSilent
		}
		if errors.Is(err, errSilent) || errors.Is(err, transport.ErrNoPath) ||
			errors.Is(err, transport.ErrLost) {
			m.client.Suspect(to.ID, true)
		}
		return nil, fmt.Errorf("connect %v: %w", h.Destination, err)
	}
	m.client.Suspect(to.ID, false)
	return s, nil
}

var errSilent = fmt.Errorf("the node does not answer: %w", unix.EHOSTUNREACH)

func (w *watch) look() {
	if w.ctx.Err() != nil {
		return
	}
	if who, ok := w.m.client.ByID(w.id); !ok || !who.Unresponsive {
		w.silent = 0
	} else if w.silent++; w.silent == silentLooks {
		w.cancel(errSilent)
		return
	}
	w.timer.Reset(silenceLook)
}
