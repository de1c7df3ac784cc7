package launcher

import (
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/streamtest"
	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/trace"
	"github.com/boxer-sandbox/boxer/transport"
)

// TestStreamContract holds the streams that this package hands to syscalls to what
// stream.Stream promises: traced and not, dialled and accepted.
func TestStreamContract(t *testing.T) {
	url := startCoordinator(t)
	accepted := make(chan *transport.Stream, 1)
	near := joinAs(t, url, "near", nil,
		func(s *transport.Stream) { s.Answer(transport.StatusRefused) })
	far := joinAs(t, url, "far", nil, func(s *transport.Stream) {
		if err := s.Answer(transport.StatusOK); err != nil {
			t.Error(err)
		}
		accepted <- s
	})
	src := netip.AddrPortFrom(near.m.client.Self().Addr, 40000)
	dst := netip.AddrPortFrom(far.m.client.Self().Addr, 5432)
	await(t, func() bool { return near.m.client.Count("far") > 0 })
	dial := func(t *testing.T) stream.Stream {
		t.Helper()
		s, err := near.Dial(t.Context(), syscalls.Opening{Source: src, Destination: dst})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	can := streamtest.Abilities{Urgent: true, StopSending: true, IPFields: true}
	t.Run("plain", func(t *testing.T) {
		streamtest.Test(t, can, func(t *testing.T) (a, b stream.Stream) {
			a = dial(t)
			return a, far.m.inbounds.follow(<-accepted)
		})
	})
	for _, n := range []network{near, far} {
		r := newRecorder(n.m, nil)
		n.r.Store(r)
		defer func() {
			close(r.stop)
			<-r.done
		}()
	}
	traced := func(t *testing.T) (a, b stream.Stream) {
		a = dial(t)
		f := far.r.Load().newConnTrace(newConnID(), trace.RoleAccept, "tcp",
			syscalls.Ends{Local: dst, Remote: src})
		return a, f.traced(far.m.inbounds.follow(<-accepted))
	}
	t.Run("traced", func(t *testing.T) { streamtest.Test(t, can, traced) })
	t.Run("traced, accepted", func(t *testing.T) {
		streamtest.Test(t, can, func(t *testing.T) (a, b stream.Stream) {
			b, a = traced(t)
			return a, b
		})
	})
}
