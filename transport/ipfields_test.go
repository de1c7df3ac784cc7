package transport

import (
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
)

// TestMixedVersions has nodes of both versions of the protocol meet: streams and
// datagrams arrive whichever of them dials, and IPFields where both know them.
func TestMixedVersions(t *testing.T) { virtual(t, testMixedVersions) }

func testMixedVersions(t *testing.T, l *lab) {
	got := make(chan Datagram, 1)
	received := func(c *Config) { c.Datagram = func(_ uint32, d Datagram) { got <- d } }
	first := func(c *Config) { c.firstVersion = true }
	nodes := map[uint32]*labNode{1: l.node(1, received), 2: l.node(2, received),
		3: l.node(3, received, first), 4: l.node(4, received, first)}
	chosen := stream.IPFields{TTL: 255, TOS: 0xb8}
	for from, near := range nodes {
		for to, far := range nodes {
			if from == to {
				continue
			}
			want := chosen
			if from > 2 || to > 2 {
				want = stream.IPFields{}
			}
			for _, size := range []int{5, 5000} { // a frame, and a stream
				d := testDatagram(size)
				d.IP = chosen
				if err := near.SendDatagram(to, d); err != nil {
					t.Fatal(err)
				}
				if d := <-got; len(d.Payload) != size || d.IP != want {
					t.Errorf("%d to %d: %d bytes with %v, want %d with %v", from, to,
						len(d.Payload), d.IP, size, want)
				}
			}
			far.onAccept(func(s *Stream) {
				// Version 1 has the opener's in the header, and peers skip them.
				if f := s.OnIPFields(nil); f != chosen {
					t.Errorf("%d to %d: opened with %v, want %v", from, to, f, chosen)
				}
				s.SetIPFields(chosen)
				s.Answer(StatusOK)
				s.Close()
			})
			h := header()
			h.IP = chosen
			s, err := near.Open(t.Context(), to, h)
			if err != nil {
				t.Fatal(err)
			}
			if from > 2 || to > 2 {
				want.TTL = 255 // the peer does not tell
			}
			if f := s.OnIPFields(nil); f != want {
				t.Errorf("%d to %d: answered with %v, want %v", from, to, f, want)
			}
			// is sent, or not, and fails in silence
			s.SetIPFields(stream.IPFields{TTL: 1})
			s.Close()
		}
	}
}
