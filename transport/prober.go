package transport

import (
	"cmp"
	"net/netip"
	"slices"
	"time"
)

// A prober decides which paths to a peer to check when, and which one to use.
// It does nothing by itself: events go in with the time at which they happen,
// and step says what is to be done. So it can be tested without a network. Its
// owner's lock guards it.
type prober struct {
	timers Timers
	host   string // names this machine; empty: unknown
	server netip.AddrPort
	ifaces []iface // of this host, to tell what kind an address is

	ours   credentials
	theirs credentials // zero until the peer's offer has come

	pairs    []*pair
	selected *pair
	since    time.Time // when selected was chosen

	wantedUntil time.Time // a connection is being made
	searchUntil time.Time // paths are looked for with all might
	lostAt      time.Time // when a search began because the path was lost
	relayFrom   time.Time // the relay is not used before

	offerDue     time.Time // when to send an offer next; zero: not
	offerTries   int
	offerWants   bool // the offer asks for one in return
	offerAnswers bool // the peer has asked for this offer

	// For checks to addresses that nothing has shown to be the peer's.
	private, public bucket

	dropped []transactionID // of pairs that are gone, to be forgotten

	// What the route's counters were at the last step.
	sent, received uint64
	unheardSince   time.Time // packets were sent since, and none came; zero: otherwise
	troubled       time.Time // when answers were last overdue
	retransmitted  time.Time // when packets that are likely lost were last sent again
}

// maxPairs bounds the paths of one peer: what it offers, and as much again that
// turns up.
const maxPairs = 2 * maxCandidates

// activeTick is how often a path with traffic is looked at.
const activeTick = 250 * time.Millisecond

// A traffic is what happened on a route so far.
type traffic struct{ sent, received uint64 }

// want makes the prober look for a path for as long as a connection attempt
// may take. relayDelay is how long it may take to find a direct one.
func (p *prober) want(now time.Time, relayDelay time.Duration) {
	p.wantedUntil = now.Add(p.timers.Connect)
	if p.selected == nil {
		p.relayFrom = now.Add(relayDelay)
	}
	if p.selected == nil || p.selected.grade(now, p.timers.Dead) != gradeGood {
		p.search(now)
	}
}

// search starts over: both sides are to check all paths, at once.
func (p *prober) search(now time.Time) {
	p.searchUntil = now.Add(p.timers.Connect)
	for _, q := range p.pairs {
		q.tries = 0
	}
	p.offerDue, p.offerTries, p.offerWants = now, 0, true
}

// noteOffer takes in what the peer says about itself. It returns true if the
// peer has started anew since its last offer: all it knew of us is gone.
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
		// The peer checks all paths now. NATs open for it only where we send.
		p.offerAnswers = true
		p.wantedUntil = now.Add(p.timers.Connect)
		if q := p.selected; q != nil { // what it has lost is likely lost to us
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

// offerAgain makes the next step tell the peer where this node is now.
func (p *prober) offerAgain(now time.Time) {
	if p.offerDue.IsZero() { // an offer that is due anyway keeps its wish for an answer
		p.offerWants = false
	}
	p.offerDue = now
}

// keepOnly drops the paths that the peer no longer offers, unless they work.
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

// addCandidate makes a pair of an address that the peer offers.
func (p *prober) addCandidate(c candidate, host string) {
	addr := c.addr.Addr().Unmap()
	if !addr.Is4() || c.addr.Port() == 0 || addr.IsUnspecified() || addr.IsMulticast() {
		return
	}
	switch c.kind {
	case candidateLocal:
		if host == "" || host != p.host { // somebody else's loopback
			return
		}
	case candidateHost, candidateReflexive:
		if addr.IsLoopback() && (host == "" || host != p.host) {
			return
		}
	default:
		return // of a later version
	}
	p.add(path{to: netip.AddrPortFrom(addr, c.addr.Port())}, c.kind)
}

// add returns the pair of a path, which may be new; nil if there are too many.
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

func (p *prober) hasDirect() bool {
	return slices.ContainsFunc(p.pairs, func(q *pair) bool { return !q.path.relay })
}

// noteHeard notes an authentic check from the peer. It returns true if that
// changes what is to be done.
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

// A check is one STUN request to be sent on a pair. The transaction forgotten
// (zero: none) is no longer waited for.
type check struct {
	pair          *pair
	id, forgotten transactionID
}

// A probePlan is what is to be done now.
type probePlan struct {
	checks []check         // to be sent
	forget []transactionID // whose answers nobody waits for any more
	offer  bool            // send an offer
	wants  bool            // which asks for one in return
	use    *pair           // the path to use; nil: none
	next   time.Time       // when to plan again, if nothing happens before; zero: never
	asleep bool            // nothing is sent on the route: tell me when that changes

	keep       bool // what is sent now is likely lost: keep copies
	retransmit bool // send the copies again: the path has changed, or works again
}

// maxBurst and burstPause pace the checks of one peer (RFC 8445 section 14.2
// asks for 5 ms between checks; a few at once hurt no link).
const (
	maxBurst   = 8
	burstPause = 5 * time.Millisecond
)

// A peer may name any address as its own, and this node sends checks there: an offer of
// 300 bytes could make it send many times that to a third party. So checks to addresses
// from which nothing authentic has come are bounded for each peer, whatever it offers and
// how often: a burst, which is enough to punch the addresses of an honest peer, and then
// a few each second (RFC 8445 section 19.5.1). An honest peer has one or two public
// addresses, but its host may have many private ones, of containers and the like.
const (
	publicBurst, publicEvery   = 32, 250 * time.Millisecond
	privateBurst, privateEvery = 4 * maxCandidates, 125 * time.Millisecond
)

// take takes the token for a check, if there is one.
func (p *prober) take(q *pair, now time.Time) bool {
	if isPrivate(q.path.to.Addr()) {
		return p.private.take(now, privateBurst, privateEvery)
	}
	return p.public.take(now, publicBurst, publicEvery)
}

// A bucket is full at first, and gets a token at intervals.
type bucket struct {
	used int
	at   time.Time // until when tokens were counted
}

// take takes a token, if there is one.
func (b *bucket) take(now time.Time, burst int, every time.Duration) bool {
	if got := int(now.Sub(b.at) / every); b.at.IsZero() || got >= b.used {
		b.used, b.at = 0, now
	} else if got > 0 {
		b.used -= got
		b.at = b.at.Add(time.Duration(got) * every)
	}
	if b.used >= burst {
		return false
	}
	b.used++
	return true
}

// step plans. connected says that there is a connection whose path has to be
// kept.
func (p *prober) step(now time.Time, connected bool, t traffic) probePlan {
	sending := t.sent != p.sent
	p.noteTraffic(now, t)
	forget := p.dropped
	p.dropped = nil
	if !connected && now.After(p.wantedUntil) {
		p.offerDue, p.offerAnswers = time.Time{}, false
		p.selected = nil // what works now may not when it is wanted again
		return probePlan{asleep: true, forget: forget}
	}
	p.searchIfLost(now)
	before := p.selected
	p.choose(now)
	do := probePlan{use: p.selected, forget: forget}
	do.keep, do.retransmit = p.planRetransmit(now, before)
	do.offer, do.wants = p.planOffer(now)
	do.checks, do.next = p.planChecks(now, sending)
	do.next = earlier(do.next, p.offerDue)
	if p.selected == nil || p.selected.path.relay {
		if now.Before(p.relayFrom) {
			do.next = earlier(do.next, p.relayFrom)
		}
	}
	if !connected {
		do.next = earlier(do.next, p.wantedUntil.Add(time.Millisecond))
	}
	if sending {
		do.next = earlier(do.next, now.Add(activeTick))
	} else {
		do.asleep = true
	}
	return do
}

// searchIfLost starts over when there is no path that works, but not all the time.
func (p *prober) searchIfLost(now time.Time) {
	q := p.selected
	switch {
	case q == nil:
		if now.After(p.searchUntil) {
			p.search(now)
		}
	case q.grade(now, p.timers.Dead) >= gradeSuspect &&
		now.Sub(p.lostAt) >= p.timers.Dead/4:
		p.lostAt = now
		p.search(now)
	}
}

// noteTraffic notices when packets are sent and nothing comes back.
func (p *prober) noteTraffic(now time.Time, t traffic) {
	switch {
	case t.received != p.received:
		p.unheardSince = time.Time{}
	case t.sent != p.sent && p.unheardSince.IsZero():
		p.unheardSince = now
	}
	p.sent, p.received = t.sent, t.received
	q := p.selected
	if q == nil || p.unheardSince.IsZero() {
		return
	}
	// An answer is overdue: find out whether it is the path.
	if p.overdue(now) && now.Sub(q.checked) >= q.probeTimeout() {
		q.triggeredCheck = true
	}
}

// overdue reports whether packets were sent that should have been answered.
func (p *prober) overdue(now time.Time) bool {
	return !p.unheardSince.IsZero() && p.selected != nil &&
		now.Sub(p.unheardSince) >= p.selected.probeTimeout()
}

// planRetransmit helps QUIC over an outage. Its own retransmissions become rarer by
// half with each one that is not answered (RFC 9002 section 6.2), so after a
// few seconds it could sleep for as many more on a path that works again, or
// until it gives up. The last packets that were sent in vain, sent again, wake
// both sides. To QUIC that is a network that delays and duplicates packets.
func (p *prober) planRetransmit(now time.Time, before *pair) (keep, retransmit bool) {
	overdue := p.overdue(now)
	if overdue {
		p.troubled = now
	}
	// The peer may be heard again before this side's path has changed, and what
	// is sent in between is lost too.
	if p.troubled.IsZero() || now.Sub(p.troubled) > p.timers.Dead {
		return false, false
	}
	q := p.selected
	if q != before || overdue && q.answered.After(p.unheardSince) &&
		q.answered.After(p.retransmitted) {
		p.retransmitted = now
		return true, q != nil
	}
	return true, false
}

// choose selects the path to use.
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
		return // a path that has failed is better than none
	}
	p.selected, p.since = best, now
}

// compare orders pairs, the better one first. The one in use wins unless the
// other is clearly better: a path that changes with each jitter of the round
// trip would confuse QUIC's own estimates.
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

// planOffer says whether an offer is to be sent now, and sets the time of the
// next try.
func (p *prober) planOffer(now time.Time) (send, wants bool) {
	if p.offerAnswers {
		p.offerAnswers = false
		send = true
	}
	if !p.offerDue.IsZero() && !now.Before(p.offerDue) {
		send, wants = true, p.offerWants
		p.offerTries++
		p.offerDue = time.Time{}
		// it may have been lost, or come before the peer knew us
		if p.theirs == (credentials{}) {
			p.offerDue = now.Add(100 * time.Millisecond << min(p.offerTries-1, 4))
		}
	}
	return send, wants
}

// planChecks notes the checks that are due now, and says when the next one is.
func (p *prober) planChecks(now time.Time, sending bool) (checks []check,
	next time.Time) {
	if p.theirs == (credentials{}) {
		return nil, time.Time{}
	}
	pairs := slices.Clone(p.pairs)
	slices.SortStableFunc(pairs, func(a, b *pair) int { return a.checked.Compare(b.checked) })
	for _, q := range pairs {
		due := p.due(q, now, sending)
		if due.IsZero() || due.After(now) {
			continue
		}
		if len(checks) == maxBurst {
			next = now.Add(burstPause)
			break
		}
		if !q.shown() && !p.take(q, now) {
			next = earlier(next, now.Add(privateEvery))
			continue
		}
		c := check{pair: q, id: newTransactionID()}
		c.forgotten = q.noteCheck(c.id, now)
		checks = append(checks, c)
	}
	for _, q := range p.pairs {
		if due := p.due(q, now, sending); due.After(now) {
			next = earlier(next, due)
		}
	}
	return checks, next
}

// due returns when q is to be checked next; zero: not at all.
func (p *prober) due(q *pair, now time.Time, sending bool) time.Time {
	works := q.works(now, p.timers.Dead)
	switch {
	case q.triggeredCheck:
		return q.checked.Add(probeDelays[0] / 2)
	case works && q.unanswered > 0:
		return q.checked.Add(min(max(3*q.rtt, 100*time.Millisecond), p.timers.Dead/4))
	case works && q == p.selected && sending:
		return q.checked.Add(min(p.timers.KeepAlive, time.Second))
	case works && q == p.selected:
		return q.checked.Add(p.timers.KeepAlive)
	case works:
		return q.checked.Add(p.timers.Refresh)
	case now.Before(p.searchUntil):
		if q.tries == 0 {
			return now
		}
		return q.checked.Add(probeDelay(q.tries))
	case p.selected == nil || q.kind < p.selected.kind || q == p.selected:
		return q.checked.Add(p.timers.Retry)
	}
	return time.Time{}
}

// earlier returns the earlier of two times, of which a zero one means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
