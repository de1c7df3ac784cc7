package launcher

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/transport"
)

// Linux gives up a host that does not answer ARP after three seconds
// (mcast_solicit and retrans_time_ms, arp(7)), with EHOSTUNREACH. Likewise an open
// ends whose node has been silent that long, to the coordinator as well as to us;
// QUIC alone would wait for its idle timeout.
const (
	silenceLook = 500 * time.Millisecond
	silentLooks = 5 // in a row
)

// A watch ends an open that waits for a node which nobody hears.
type watch struct {
	ctx    context.Context // of the open
	m      *member
	id     uint32
	cancel context.CancelCauseFunc
	timer  *time.Timer
	silent int // looks
}

// open opens a stream to the node with the header's destination.
func (m *member) open(ctx context.Context, h transport.Header) (*transport.Stream, error) {
	to, ok := m.client.ByAddr(h.Destination.Addr())
	if !ok {
		// What an ordinary network answers for an address that nobody has.
		return nil, fmt.Errorf("connect %v: no such node: %w", h.Destination,
			unix.EHOSTUNREACH)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w := &watch{ctx: ctx, m: m, id: to.ID, cancel: cancel}
	w.timer = time.AfterFunc(time.Hour, w.look)
	w.timer.Reset(silenceLook) // look has the timer by now
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
