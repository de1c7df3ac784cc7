package transport

import (
	"testing"

	"github.com/boxer-sandbox/boxer/internal/streamtest"
	"github.com/boxer-sandbox/boxer/stream"
)

var _ stream.Stream = (*Stream)(nil)

// TestContract holds streams to what stream.Stream promises, from the side that opened
// them and from the one that accepted them.
func TestContract(t *testing.T) {
	l := newLab(t)
	a, b := l.node(1), l.node(2)
	accepted := make(chan *Stream, 1)
	b.onAccept(func(s *Stream) {
		if err := s.Answer(StatusOK); err != nil {
			t.Error(err)
		}
		accepted <- s
	})
	open := func(t *testing.T) (near, far stream.Stream) {
		return a.open(t, 2),
			<-accepted
	}
	optimistic := func(t *testing.T) (near, far stream.Stream) {
		s := openOptimistic(t, a)
		if err := s.Flush(); err != nil {
			t.Fatal(err)
		}
		return s, <-accepted
	}
	b.Announce(header().Destination, 1<<10)
	for _, tc := range []struct {
		name string
		pair streamtest.Pair
	}{
		{"opened", open},
		{"accepted", func(t *testing.T) (near, far stream.Stream) {
			far, near = open(t)
			return near, far
		}},
		{"opened without waiting", optimistic},
		{"accepted, optimistic", func(t *testing.T) (near, far stream.Stream) {
			far, near = optimistic(t)
			return near, far
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			streamtest.Test(t, streamtest.Abilities{Urgent: true, StopSending: true,
				IPFields: true}, tc.pair)
		})
	}
}
