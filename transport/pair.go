package transport

import (
	"net/netip"
	"time"
)

// A pair is one possible path to a peer with what probing it has shown. (ICE
// pairs a local with a remote candidate; with one socket, and the local address
// left to the kernel's routing, the remote one is enough.)
type pair struct {
	path    path
	offered candidateKind // what the peer calls the address; 0: learnt from its packets
	kind    Kind

	tries          int       // checks since the search began
	checked        time.Time // when the last check was sent
	triggeredCheck bool      // a check is due at once

	unanswered      int       // checks since the last answer
	unansweredSince time.Time // when the first of them was sent
	answered        time.Time // when the last answer came
	heard           time.Time // when the peer's last check came in this way
	doubted         time.Time // when the peer said that it has lost its path
	rtt             time.Duration
	mapped          netip.AddrPort // this socket as the peer sees it on this path

	pending     [pendingChecks]transactionID // the last checks sent
	nextPending int
}

// pendingChecks is how many checks of a pair may wait for an answer. At the
// pace of probeDelays, answers may come after 1.5 s and still count.
const pendingChecks = 6

const (
	// A path gives way after this many unanswered checks, spread over a quarter of
	// Timers.Dead (a twelfth if the peer has lost it already), and is dead one check
	// later and Timers.Dead after the first.
	suspectChecks = 3
	deadChecks    = 4
)

// failing reports whether as many checks as given went unanswered for so long.
func (p *pair) failing(now time.Time, checks int, during time.Duration) bool {
	return p.unanswered >= checks && now.Sub(p.unansweredSince) >= during
}

// works reports whether checks are answered on this path.
func (p *pair) works(now time.Time, dead time.Duration) bool {
	return !p.answered.IsZero() && !p.failing(now, deadChecks, dead)
}

// grade says how far the pair can be relied on.
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

type grade uint8

const (
	gradeGood grade = iota // answers
	// the peer's packets come in; ours, by the same way, should reach it
	gradeHeard
	gradeSuspect // has answered until a moment ago
	gradeNone
)

// probeTimeout is how long an answer to a packet may take.
func (p *pair) probeTimeout() time.Duration { return max(250*time.Millisecond, 4*p.rtt) }

// shown reports whether the path's address has shown to be the peer's, or is the relay's.
// That a check came from there shows little: its source may be forged.
func (p *pair) shown() bool { return p.path.relay || !p.answered.IsZero() }

// noteCheck notes that a check is being sent. It returns the transaction that
// is forgotten for it, zero if none.
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

// noteAnswer notes the answer to a check that was sent at a time.
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
