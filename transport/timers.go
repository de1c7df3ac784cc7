package transport

import "time"

// Timers are the intervals and limits of a Node. A field that is zero means its default.
type Timers struct {
	// KeepAlive is how long a connection may be silent before the node sends a packet,
	// and how often the node checks the path in use. Default 2.5 s: with the default of
	// Idle, three packets in a row have to be lost before a peer counts as dead.
	KeepAlive time.Duration
	// Idle ends a connection on which nothing was received for so long. Default 8 s: the
	// node notices a killed peer within 10 s.
	Idle time.Duration
	// Connect bounds the search for a path and the handshake. Default 10 s.
	Connect time.Duration
	// Relay bounds how long a node waits for a direct path before it uses the relay. With
	// a near coordinator it waits for less: 25 ms and four round trips to the
	// coordinator. Default 300 ms.
	Relay time.Duration
	// Refresh is how often a node checks working paths that are not in use, and asks the
	// coordinator for its own address. Default 15 s: RFC 8445 section 11.
	Refresh time.Duration
	// Retry is how often a node checks paths that do not work and would be better than
	// the one in use. Default 5 s.
	Retry time.Duration
	// Dead is how long checks on the path in use may be unanswered until the path counts
	// as dead. After a quarter of Dead the node prefers any path that answers. Default 3
	// s.
	Dead time.Duration
	// Linger is how long a connection without streams stays open after the two nodes have
	// chosen another one. Default 5 s.
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

// probeDelays are the waits after the first, second, ... check of a path that has not
// answered yet; the last one repeats. RFC 8489 section 6.2.1 starts at 500 ms, which is
// the longest round trip on earth. Here the first checks are usually dropped by a NAT
// that is not open from inside yet, and each delay adds to the time to the first byte.
var probeDelays = []time.Duration{
	20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond,
	200 * time.Millisecond, 400 * time.Millisecond, 800 * time.Millisecond, time.Second,
}

func probeDelay(sent int) time.Duration {
	return probeDelays[min(max(sent-1, 0), len(probeDelays)-1)]
}

// The limits of the argument of PeerTimeout.
const (
	MinPeerTimeout = time.Second
	MaxPeerTimeout = 10 * time.Minute
)

// PeerTimeout returns Timers with which a peer counts as dead when it was not heard for
// d. Below the default of Idle, the node sends packets more often: a connection ends only
// if eight packets and QUIC's retransmissions of them get no answer. So it survives the
// loss of every third packet, and a peer that does not run for three quarters of d. If
// the two ends have different timeouts, the lower one counts (RFC 9000 section 10.1).
func PeerTimeout(d time.Duration) Timers {
	t := Timers{}.withDefaults()
	t.KeepAlive = min(t.KeepAlive, d/8)
	t.Dead = min(t.Dead, d/2)
	t.Idle = d
	return t
}
