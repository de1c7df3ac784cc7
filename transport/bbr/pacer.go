package bbr

import "time"

const (
	// timerGranularity is the precision of a goroutine's sleep. What may be sent within
	// that time may be sent at once.
	timerGranularity = time.Millisecond
	// pacerDepth bounds the delay that a pacer may make up for.
	pacerDepth = 2 * timerGranularity
	// minBurst is how many packets may always be sent at once, as in quic-go's pacer.
	minBurst = 10
)

// A pacer spreads packets over time. It is a token bucket, whose tokens are bytes:
// section "Pacing Rate".
type pacer struct {
	tokens float64
	at     Time // when the bucket had them
	begun  bool
}

// budget returns how many bytes may be sent now, at a rate in bytes per second.
func (p *pacer) budget(now Time, rate, packet int64) float64 {
	depth := max(float64(bytesIn(rate, pacerDepth)), float64(minBurst*packet))
	if !p.begun {
		return depth
	}
	return min(depth, p.tokens+float64(rate)*time.Duration(now-p.at).Seconds())
}

// sent takes the bytes of a packet from the bucket.
func (p *pacer) sent(now Time, rate, packet, size int64) {
	p.tokens = max(p.budget(now, rate, packet)-float64(size), float64(-packet))
	p.at, p.begun = now, true
}

// next returns when a packet may be sent. It is not later than the last one if a packet
// may be sent at once.
func (p *pacer) next(rate, packet int64) Time {
	if missing := float64(packet) - p.tokens; p.begun && missing > 0 {
		wait := time.Duration(missing / float64(rate) * float64(time.Second))
		return p.at + Time(max(wait+1, timerGranularity))
	}
	return p.at
}
