package bbr

import "time"

const (
	// timerGranularity is how exactly a goroutine can sleep and be woken. What leaves in
	// that time may leave at once.
	timerGranularity = time.Millisecond
	// pacerDepth is for how long a pacer that comes late may make up.
	pacerDepth = 2 * timerGranularity
	// minBurst is what may always leave at once, in packets: as quic-go's pacer has it.
	minBurst = 10
)

// A pacer spreads packets over time: a bucket of tokens, which are bytes. Section "Pacing
// Rate".
type pacer struct {
	tokens float64
	at     Time // when there were so many
	begun  bool
}

// budget is how many bytes may be sent now, at a rate in bytes per second.
func (p *pacer) budget(now Time, rate, packet int64) float64 {
	depth := max(float64(bytesIn(rate, pacerDepth)), float64(minBurst*packet))
	if !p.begun {
		return depth
	}
	return min(depth, p.tokens+float64(rate)*time.Duration(now-p.at).Seconds())
}

// sent takes what was sent from the bucket.
func (p *pacer) sent(now Time, rate, packet, size int64) {
	p.tokens = max(p.budget(now, rate, packet)-float64(size), float64(-packet))
	p.at, p.begun = now, true
}

// next is when a packet may be sent: the time of the last one, or before, if at once.
func (p *pacer) next(rate, packet int64) Time {
	if missing := float64(packet) - p.tokens; p.begun && missing > 0 {
		wait := time.Duration(missing / float64(rate) * float64(time.Second))
		return p.at + Time(max(wait+1, timerGranularity))
	}
	return p.at
}
