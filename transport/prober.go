package transport

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// A prober decides when to check which paths to a peer, and which path to use. It does
// nothing by itself: its owner tells it events with their times, and step returns what
// the owner has to do. So it can be tested without a network. The owner's lock guards it.
type prober struct {
	timers Timers
	host   string // names this machine; empty: unknown
	server netip.AddrPort
	ifaces []iface // of this host: they decide which Kind an address is

	ours   credentials
	theirs credentials // zero until the peer's offer has arrived

	pairs    []*pair
	selected *pair
	since    time.Time // when selected was chosen

	wantedUntil time.Time // until then a connection is being made
	searchUntil time.Time // until then all paths are checked quickly
	lostAt      time.Time // when the last search for a lost path began
	relayFrom   time.Time // the relay is not used before

	offerDue     time.Time // when to send the next offer; zero: never
	offerTries   int
	offerWants   bool // the offer asks for one in return
	offerAnswers bool // the peer has asked for this offer

	// Limits of the checks to addresses that are not proven to be the peer's.
	private, public bucket

	dropped []transactionID // of removed pairs: no answers are waited for

	sent, received uint64 // the route's counters at the last step
	// since then packets were sent and none arrived; zero: not so
	unheardSince  time.Time
	troubled      time.Time // when answers were last overdue
	retransmitted time.Time // when packets that are likely lost were last sent again
}

// maxPairs bounds the paths of one peer: those that it offers, and as many that are
// learnt from its packets.
const maxPairs = 2 * maxCandidates

// activeTick is the interval between steps while there is traffic.
const activeTick = 250 * time.Millisecond

// A traffic counts the packets of a route.
type traffic struct{ sent, received uint64 }

// want makes the prober search for a path while a connection attempt may take. It does
// not use the relay before relayDelay has passed.
func (p *prober) want(now time.Time, relayDelay time.Duration) {
	p.wantedUntil = now.Add(p.timers.Connect)
	if p.selected == nil {
		p.relayFrom = now.Add(relayDelay)
	}
	if p.selected == nil || p.selected.grade(now, p.timers.Dead) != gradeGood {
		p.search(now)
	}
}

// search starts the search again: both sides have to check all paths now.
func (p *prober) search(now time.Time) {
	p.searchUntil = now.Add(p.timers.Connect)
	for _, q := range p.pairs {
		q.tries = 0
	}
	p.offerDue, p.offerTries, p.offerWants = now, 0, true
}

// noteOffer handles an offer of the peer. anew reports that the peer has started again
// since its last offer: it does not know this side's connections.
func (p *prober) noteOffer(o *offer, now time.Time,
	relayDelay time.Duration) (anew bool) {
	if p.theirs != o.credentials {
		anew = p.theirs != credentials{}
		p.theirs = o.credentials
		for _, q := range p.pairs {
			q.answered = time.Time{}
			q.unanswered = 0
		}
	}
	if p.wantedUntil.Before(now) && p.selected == nil {
		p.relayFrom = now.Add(relayDelay)
	}
	p.keepOnly(o.candidates, now)
	for _, c := range o.candidates {
		p.addCandidate(c, o.host)
	}
	if p.server.IsValid() {
		p.add(path{to: p.server, relay: true}, 0)
	}
	if !p.hasDirect() {
		p.relayFrom = now
	}
	if o.wantsAnswer {
		// The peer checks all paths now. This side's NAT lets those checks in only after
		// this side has sent packets, too.
		p.offerAnswers = true
		p.wantedUntil = now.Add(p.timers.Connect)
		if q := p.selected; q != nil { // the peer has lost it, so this side has, too
			q.triggeredCheck, q.doubted = true, now
			p.troubled = now
		}
	}
	p.searchUntil = now.Add(p.timers.Connect)
	for _, q := range p.pairs {
		q.tries = 0
	}
	return anew
}

// offerAgain makes the next step send an offer, because this node's addresses have
// changed.
func (p *prober) offerAgain(now time.Time) {
	if p.offerDue.IsZero() { // an offer that is due anyway may ask for an answer
		p.offerWants = false
	}
	p.offerDue = now
}

// keepOnly removes the pairs that the peer no longer offers and that do not work.
func (p *prober) keepOnly(candidates []candidate, now time.Time) {
	p.pairs = slices.DeleteFunc(p.pairs, func(q *pair) bool {
		offered := slices.ContainsFunc(candidates,
			func(c candidate) bool { return c.addr == q.path.to })
		drop := !offered && !q.path.relay && q != p.selected &&
			q.grade(now, p.timers.Dead) == gradeNone
		if drop {
			p.dropped = append(p.dropped, q.pending[:]...)
		}
		return drop
	})
}

// addCandidate adds the pair of an address that the peer offers.
func (p *prober) addCandidate(c candidate, host string) {
	addr := c.addr.Addr().Unmap()
	if !addr.Is4() || c.addr.Port() == 0 || addr.IsUnspecified() || addr.IsMulticast() {
		return
	}
	switch c.kind {
	case candidateLocal:
		if host == "" || host != p.host { // the loopback address of another host
			return
		}
	case candidateHost, candidateReflexive:
		if addr.IsLoopback() && (host == "" || host != p.host) {
			return
		}
	default:
		return // a kind of a later version
	}
	p.add(path{to: netip.AddrPortFrom(addr, c.addr.Port())}, c.kind)
}

// add returns the pair of a path, which may be new; nil if there are maxPairs.
func (p *prober) add(way path, offered candidateKind) *pair {
	i := slices.IndexFunc(p.pairs, func(q *pair) bool { return q.path == way })
	if i < 0 {
		if len(p.pairs) >= maxPairs {
			return nil
		}
		i = len(p.pairs)
		p.pairs = append(p.pairs, &pair{path: way})
	}
	q := p.pairs[i]
	if q.offered == 0 || offered == candidateHost || offered == candidateLocal {
		q.offered = cmp.Or(offered, q.offered)
	}
	q.kind = KindRelayed
	if !way.relay {
		q.kind = kindOf(way.to.Addr(), q.offered, p.ifaces)
	}
	return q
}

// hasDirect reports whether there is any path but the relay.
func (p *prober) hasDirect() bool {
	return slices.ContainsFunc(p.pairs, func(q *pair) bool { return !q.path.relay })
}

// noteHeard notes an authentic check from the peer on a path. It returns true if step has
// to be called.
func (p *prober) noteHeard(way path, now time.Time) bool {
	q := p.add(way, 0) // a new one is peer-reflexive: RFC 8445 section 7.3.1.3
	if q == nil {
		return false
	}
	q.heard = now
	if !q.works(now, p.timers.Dead) {
		q.triggeredCheck = true // a triggered check: RFC 8445 section 7.3.1.4
		return true
	}
	return false
}

// choose selects the best path.
func (p *prober) choose(now time.Time) {
	var best *pair
	for _, q := range p.pairs {
		if q.grade(now, p.timers.Dead) == gradeNone || q.path.relay &&
			now.Before(p.relayFrom) {
			continue
		}
		if best == nil || p.compare(q, best, now) < 0 {
			best = q
		}
	}
	if best == nil || best == p.selected {
		return // without another path, one that has failed stays selected
	}
	p.selected, p.since = best, now
}

// compare orders pairs, the better one first. The pair in use wins unless the other one
// is clearly better: if the path changed with each jitter of the round trip, QUIC's own
// estimates would be wrong.
func (p *prober) compare(a, b *pair, now time.Time) int {
	if c := cmp.Compare(a.grade(now, p.timers.Dead),
		b.grade(now, p.timers.Dead)); c != 0 {
		return c
	}
	if c := cmp.Compare(a.kind, b.kind); c != 0 {
		return c
	}
	const margin = 2 * time.Millisecond
	switch p.selected {
	case a:
		return cmp.Compare(a.rtt, b.rtt+b.rtt/4+margin)
	case b:
		return cmp.Compare(a.rtt+a.rtt/4+margin, b.rtt)
	}
	return cmp.Compare(a.rtt, b.rtt)
}
