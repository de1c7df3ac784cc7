package transport

import "time"

// Timers are the intervals and bounds of a Node. A zero field means its
// default; tests set them short.
type Timers struct {
	// KeepAlive is how long a connection may be silent before a packet is sent,
	// and how often the path in use is probed. Default 2.5 s: with Idle, three
	// packets in a row have to be lost before a peer counts as dead.
	KeepAlive time.Duration
	// Idle ends a connection from which nothing was received for so long.
	// Default 8 s: a killed peer is noticed within 10 s.
	Idle time.Duration
	// Connect bounds the search for a path and the handshake. Default 10 s.
	Connect time.Duration
	// Relay is how long direct paths are waited for, at most, before the relay
	// is used; with a near coordinator it is less: 25 ms and four round trips
	// to it. Default 300 ms.
	Relay time.Duration
	// Refresh is how often paths that work but are not in use, and the mapping
	// of this socket, are probed. Default 15 s: RFC 8445 section 11.
	Refresh time.Duration
	// Retry is how often paths that do not work, but would be better than the one in
	// use, are tried again. Default 5 s.
	Retry time.Duration
	// Dead is how long a path in use may leave probes unanswered until it counts
	// as dead. After a quarter of that it gives way to any path that answers.
	// Default 3 s.
	Dead time.Duration
	// Linger is how long a connection that lost against another one of the same
	// pair stays open without streams. Default 5 s.
	Linger time.Duration
	// Header bounds the wait for the header of an accepted stream. Default 10 s.
	Header time.Duration
}

func (t Timers) withDefaults() Timers {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&t.KeepAlive, 2500*time.Millisecond)
	set(&t.Idle, 8*time.Second)
	set(&t.Connect, 10*time.Second)
	set(&t.Relay, 300*time.Millisecond)
	set(&t.Refresh, 15*time.Second)
	set(&t.Retry, 5*time.Second)
	set(&t.Dead, 3*time.Second)
	set(&t.Linger, 5*time.Second)
	set(&t.Header, 10*time.Second)
	return t
}

// probeDelays are the waits after the first, second, ... probe of a path that
// has not answered yet; the last one repeats. RFC 8489 section 6.2.1 starts at
// 500 ms, which is a round trip to the other end of the world and back: here
// the first answer is usually lost to a NAT that has not been opened from
// inside, and each round trip saved is one of the time to the first byte.
var probeDelays = []time.Duration{
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, time.Second,
}

func probeDelay(sent int) time.Duration {
	return probeDelays[min(max(sent-1, 0), len(probeDelays)-1)]
}

// The bounds of Timers.Idle for PeerTimeout.
const (
	MinPeerTimeout = time.Second
	MaxPeerTimeout = 10 * time.Minute
)

// PeerTimeout returns Timers by which a peer that is not heard for d counts as dead.
// Below the default of Idle, packets are sent more often: eight have to stay without an
// answer, and QUIC's retransmissions of them, so that a loss of every third packet, or
// a peer that does not run for three quarters of d, is no end of a connection. Each
// end of a connection may ask for less than the other: the lower one counts (RFC 9000
// section 10.1).
func PeerTimeout(d time.Duration) Timers {
	t := Timers{}.withDefaults()
	t.KeepAlive = min(t.KeepAlive, d/8)
	t.Dead = min(t.Dead, d/2)
	t.Idle = d
	return t
}
