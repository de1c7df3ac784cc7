package transport

import (
	"context"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

// TestNonsense has an admitted peer send nonsense in every way that there is, while
// another one's stream goes on.
func TestNonsense(t *testing.T) {
	l := newLab(t)
	victim, good := l.node(1, func(c *Config) { c.Timers.Header = 100 * time.Millisecond }), l.node(2)
	s := good.open(t, 1)
	exchange(t, s, "before")
	before := runtime.NumGoroutine()

	bad := l.node(3)
	rnd := rand.New(rand.NewPCG(1, 2))
	bytes := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		return b
	}
	until := time.Now().Add(time.Second)
	rounds := 0
	for ; time.Now().Before(until); rounds++ {
		exchange(t, s, "meanwhile")
		bad.babble(t, victim, bytes, rnd)
		if rounds%20 == 19 { // and begins anew
			p, _ := bad.peer(1)
			if c, _, err := p.connection(t.Context()); err == nil {
				c.quic.CloseWithError(0x1234, "nonsense")
			}
		}
	}
	exchange(t, s, "after")
	exchange(t, victim.open(t, 2), "the other way")
	bad.Close()
	bad.socket.Close()
	victim.RemovePeer(Peer{3, bad.config.Identity.Key()})
	good.RemovePeer(Peer{3, bad.config.Identity.Key()})
	eventually(t, "what the peer began is gone",
		func() bool { return runtime.NumGoroutine() <= before+20 })
	t.Logf("%d rounds", rounds)
}

// babble sends one piece of each kind of nonsense.
func (n *labNode) babble(t *testing.T, to *labNode, bytes func(int) []byte,
	rnd *rand.Rand) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	p, err := n.peer(to.id)
	if err != nil {
		t.Fatal(err)
	}
	if c, _, err := p.connection(ctx); err == nil {
		if q, err := c.quic.OpenStream(); err == nil {
			b, _ := AppendHeader(nil, header())
			switch rnd.IntN(4) {
			case 0:
				b = bytes(rnd.IntN(2000))
			case 1:
				b = b[:rnd.IntN(len(b))]
			case 2:
				b[rnd.IntN(len(b))] ^= byte(1 + rnd.IntN(255))
			case 3:
				b = append(b, bytes(rnd.IntN(100_000))...)
			}
			q.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			q.Write(b)
			q.CancelWrite(0x77)
			q.CancelRead(0x77)
		}
		// a large datagram's
		if q, err := c.quic.(*quic.Conn).OpenUniStream(); err == nil {
			q.SetWriteDeadline(time.Now().Add(10 * time.Millisecond))
			q.Write(bytes(rnd.IntN(200_000)))
			if rnd.IntN(2) == 0 {
				q.Close()
			}
		}
		c.quic.SendDatagram(bytes(rnd.IntN(1000)))
	}
	at := to.socket.LocalAddr()
	junk := bytes(1 + rnd.IntN(1400))
	n.socket.WriteTo(junk, at)                                      // anything
	n.socket.WriteTo(append([]byte{0x40}, junk...), at)             // QUIC
	n.socket.WriteTo(append([]byte{0, 1, 0, 8, 0x21}, junk...), at) // STUN
	// a frame that no relay sends
	n.socket.WriteTo(append(AppendRelayHeader(nil, n.id), junk...), at)
	// the coordinator passes it on as it is
	to.HandleSignal(n.id, junk)
	to.HandleSignal(n.id, nil)
	to.HandleSignal(77, junk)
}
