package transport

import (
	"net/netip"
	"time"
)

// A pair is one possible path to a peer, with what checks have shown about it. (ICE pairs
// a local with a remote candidate. Here there is one socket, the kernel's routing chooses
// the local address, and the remote candidate is enough.)
type pair struct {
	path path
	// the kind that the peer's offer says; 0: learnt from its packets
	offered candidateKind
	kind    Kind

	tries          int       // checks since the search began
	checked        time.Time // when the last check was sent
	triggeredCheck bool      // a check is due at once

	unanswered      int       // checks since the last answer
	unansweredSince time.Time // when the first of them was sent
	answered        time.Time // when the last answer came
	heard           time.Time // when the peer's last check arrived on this path
	doubted         time.Time // when the peer's offer said that it has lost its path
	rtt             time.Duration
	mapped          netip.AddrPort // this socket as the peer sees it on this path

	pending     [pendingChecks]transactionID // the last checks sent
	nextPending int
}

// pendingChecks is how many checks of a pair may wait for an answer. At the pace of
// probeDelays, an answer counts if it arrives within 1.5 s.
const pendingChecks = 6

const (
	// A path is suspect after suspectChecks unanswered checks over a quarter of
	// Timers.Dead (a twelfth if the peer has lost its path already). It is dead after
	// deadChecks unanswered checks over Timers.Dead.
	suspectChecks = 3
	deadChecks    = 4
)

// failing reports whether so many checks have had no answer for so long.
func (p *pair) failing(now time.Time, checks int, during time.Duration) bool {
	return p.unanswered >= checks && now.Sub(p.unansweredSince) >= during
}

// works reports whether the peer answers checks on this path.
func (p *pair) works(now time.Time, dead time.Duration) bool {
	return !p.answered.IsZero() && !p.failing(now, deadChecks, dead)
}

// grade returns how reliable the path is.
func (p *pair) grade(now time.Time, dead time.Duration) grade {
	works := p.works(now, dead)
	suspectAfter := dead / 4
	if now.Sub(p.doubted) < dead {
		suspectAfter = dead / 12
	}
	switch {
	case works && !p.failing(now, suspectChecks, suspectAfter):
		return gradeGood
	case !works && !p.heard.IsZero() && now.Sub(p.heard) < dead:
		return gradeHeard
	case works:
		return gradeSuspect
	}
	return gradeNone
}

// A grade is how reliable a path is; the lowest is the best.
type grade uint8

const (
	gradeGood    grade = iota // the peer answers
	gradeHeard                // the peer's checks arrive, so ours should arrive, too
	gradeSuspect              // the peer has answered until a moment ago
	gradeNone
)

// probeTimeout returns how long an answer to a packet may take.
func (p *pair) probeTimeout() time.Duration { return max(250*time.Millisecond, 4*p.rtt) }

// shown reports whether the path's address is proven to be the peer's, or is the relay's.
// A check from that address proves little: its source may be forged.
func (p *pair) shown() bool { return p.path.relay || !p.answered.IsZero() }

// noteCheck notes that a check is being sent. It returns the transaction that is no
// longer waited for in its place, zero if none.
func (p *pair) noteCheck(id transactionID, now time.Time) (forgotten transactionID) {
	if p.unanswered == 0 {
		p.unansweredSince = now
	}
	p.unanswered++
	p.tries++
	p.checked = now
	p.triggeredCheck = false
	forgotten = p.pending[p.nextPending]
	p.pending[p.nextPending] = id
	p.nextPending = (p.nextPending + 1) % pendingChecks
	return forgotten
}

// noteAnswer notes an answer that has arrived now, to a check that was sent at a time.
func (p *pair) noteAnswer(sent, now time.Time, mapped netip.AddrPort) {
	rtt := now.Sub(sent)
	if p.rtt == 0 || p.answered.IsZero() {
		p.rtt = rtt
	} else {
		p.rtt += (rtt - p.rtt) / 8 // RFC 6298 section 2
	}
	p.answered = now
	p.unanswered = 0
	p.mapped = mapped
}
