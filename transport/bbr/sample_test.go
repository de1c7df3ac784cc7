package bbr

import (
	"math"
	"testing"
	"time"
)

// TestHistory has packets go and come back in any order, gaps, and packets that nobody
// hears of.
func TestHistory(t *testing.T) {
	h := newHistory()
	for n := int64(0); n < 1000; n++ {
		h.add(sent{number: n, size: n + 1, inflight: (n + 1) * (n + 2) / 2})
	}
	for _, n := range []int64{999, 0, 500, 64} {
		if p, ok := h.take(n); !ok || p.size != n+1 {
			t.Errorf("packet %d: %+v, %v", n, p, ok)
		}
		if _, ok := h.take(n); ok {
			t.Errorf("packet %d is there twice", n)
		}
	}
	for _, n := range []int64{-1, 1000, 1 << 40} {
		if p, ok := h.take(n); ok {
			t.Errorf("packet %d, which was not sent: %+v", n, p)
		}
	}
	for n := int64(1000); n < 10*maxHistory; n += 7 {
		h.add(sent{number: n})
		if _, ok := h.take(n); !ok {
			t.Fatalf("packet %d is not there", n)
		}
	}
	if len(h.ring) > maxHistory {
		t.Errorf("%d places", len(h.ring))
	}
	// One packet in ten is not heard of again: that does not let the ring grow.
	h = newHistory()
	for n := int64(0); n < 100_000; n++ {
		h.add(sent{number: n, size: 1000, inflight: 2000})
		if n%10 != 0 {
			h.take(n)
		}
	}
	if len(h.ring) != historyStart {
		t.Errorf("%d places for a packet under way", len(h.ring))
	}
}

// TestRateSample sends ten packets, one each millisecond, over a path of 10 ms.
func TestRateSample(t *testing.T) {
	const ms = Time(time.Millisecond)
	var d delivery
	var packets []sent
	for i := range Time(10) {
		packets = append(packets, d.send(1+i*ms, int64(i), 1000, int64(i+1)*1000))
	}
	var s sample
	for i, p := range packets {
		s = sample{}
		now := 1 + (Time(i)+10)*ms
		d.ack(now, p, &s)
		d.finish(now, &s, 0)
		if s.newlyAcked != 1000 || s.rtt != 10*time.Millisecond {
			t.Errorf("packet %d: %+v", i, s)
		}
	}
	// The last one: 10 kB in the 19 ms since it all began.
	if s.rate != perSecond(10_000, 19*time.Millisecond) {
		t.Errorf("%d bytes per second, want those of 10 kB in 19 ms", s.rate)
	}
	s = sample{ok: true, newest: packets[9]}
	if d.finish(1+19*ms, &s, time.Second); s.rate != 0 {
		t.Errorf("a rate of %d from an interval that is too short", s.rate)
	}
	d.limited(3000)
	if p := d.send(30*ms, 10, 1000, 4000); !p.appLimited {
		t.Error("a packet that leaves while there is too little to send does not say so")
	}
}

func TestFilters(t *testing.T) {
	var c cycleMax
	for _, step := range []struct{ note, want int64 }{{5, 5}, {3, 5}, {-1, 5}, {2, 5},
		{-1, 2}, {-1, 2}, {7, 7}} {
		if step.note < 0 {
			c.advance()
		} else {
			c.note(step.note)
		}
		if got := c.get(); got != step.want {
			t.Errorf("after %d: %d, want %d", step.note, got, step.want)
		}
	}
	var r roundMax
	for _, step := range []struct{ round, note, rounds, want int64 }{
		{0, 5, 10, 5}, {1, 3, 10, 5}, {1, 3, 1, 3}, {9, 1, 10, 5}, {10, 1, 10, 3},
		{11, 1, 10, 1}, {1000, 2, 10, 2}, {1001, 1, 1, 1},
	} {
		if got := r.note(step.round, step.note, step.rounds); got != step.want {
			t.Errorf("round %d: %d, want %d", step.round, got, step.want)
		}
	}
}

func TestPacer(t *testing.T) {
	const rate, packet = 10_000_000, 1000 // 10 kB in a millisecond
	var p pacer
	now := Time(time.Hour)
	sent := int64(0)
	for end := now + Time(time.Second); now < end; {
		for p.budget(now, rate, packet) >= packet {
			p.sent(now, rate, packet, packet)
			sent += packet
		}
		next := p.next(rate, packet)
		if next <= now {
			t.Fatalf("the next packet may leave at once, and there is no budget")
		}
		now = next
	}
	if math.Abs(float64(sent)-rate) > 0.01*rate+minBurst*packet {
		t.Errorf("%d bytes in a second, want %d", sent, rate)
	}
	if got, most := p.budget(now+Time(time.Hour), rate, packet),
		float64(bytesIn(rate, pacerDepth)); got != most {
		t.Errorf("%v bytes at once after an hour, want %v", got, most)
	}
}
