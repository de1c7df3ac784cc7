package transport

import (
	"slices"
	"time"
)

// A check is one STUN request to send on a pair. The transaction forgotten (zero: none)
// is no longer waited for.
type check struct {
	pair          *pair
	id, forgotten transactionID
}

// A probePlan is what the owner has to do now.
type probePlan struct {
	checks []check         // send them
	forget []transactionID // answers to them are no longer waited for
	offer  bool            // send an offer
	wants  bool            // the offer asks for one in return
	use    *pair           // the path to use; nil: none
	// when to call step again, if nothing happens before; zero: never
	next   time.Time
	asleep bool // nothing is sent: call step when that changes

	keep       bool // packets sent now are likely lost: keep copies
	retransmit bool // send the copies again: the path has changed, or works again
}

// maxBurst and burstPause pace the checks of one peer. RFC 8445 section 14.2 asks for 5
// ms between checks; a few at once overload no link.
const (
	maxBurst   = 8
	burstPause = 5 * time.Millisecond
)

// A peer may name any address as its own, and this node sends checks there: an offer of
// 300 bytes could make it send many times as much to a third party. So the checks to
// addresses from which no authentic answer has arrived are limited for each peer,
// whatever it offers and how often: a burst, which is enough to punch to the addresses of
// an honest peer, and then a few each second (RFC 8445 section 19.5.1). An honest peer
// has one or two public addresses, but its host may have many private ones, such as those
// of containers.
const (
	publicBurst, publicEvery   = 32, 250 * time.Millisecond
	privateBurst, privateEvery = 4 * maxCandidates, 125 * time.Millisecond
)

// take takes the token for a check. It returns false if there is none.
func (p *prober) take(q *pair, now time.Time) bool {
	if isPrivate(q.path.to.Addr()) {
		return p.private.take(now, privateBurst, privateEvery)
	}
	return p.public.take(now, publicBurst, publicEvery)
}

// A bucket has a burst of tokens at first, and gets one more at intervals.
type bucket struct {
	used int
	at   time.Time // the time up to which tokens were added
}

// take takes a token. It returns false if there is none.
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

// step returns what to do at the time now. connected says that there is a connection,
// whose path has to be kept.
func (p *prober) step(now time.Time, connected bool, t traffic) probePlan {
	sending := t.sent != p.sent
	p.noteTraffic(now, t)
	forget := p.dropped
	p.dropped = nil
	if !connected && now.After(p.wantedUntil) {
		p.offerDue, p.offerAnswers = time.Time{}, false
		p.selected = nil // it may not work any more when a path is wanted again
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

// searchIfLost starts the search again if no path works, but not at every step.
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

// noteTraffic notes when packets are sent and none arrive, and then checks the path.
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
	// An answer is overdue: a check finds out whether the path is the cause.
	if p.overdue(now) && now.Sub(q.checked) >= q.probeTimeout() {
		q.triggeredCheck = true
	}
}

// overdue reports whether packets were sent that should have been answered by now.
func (p *prober) overdue(now time.Time) bool {
	return !p.unheardSince.IsZero() && p.selected != nil &&
		now.Sub(p.unheardSince) >= p.selected.probeTimeout()
}

// planRetransmit helps QUIC over an outage. QUIC doubles the time to its next
// retransmission with each one that is not answered (RFC 9002 section 6.2). So after an
// outage of a few seconds it would wait for as many more although a path works again, or
// until it gives up. Sending the last packets that were likely lost again wakes both
// sides. QUIC sees a network that delays and duplicates packets.
func (p *prober) planRetransmit(now time.Time, before *pair) (keep, retransmit bool) {
	overdue := p.overdue(now)
	if overdue {
		p.troubled = now
	}
	// The peer may be heard again before this side has changed its path. Packets that are
	// sent in between are lost, too.
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

// planOffer returns whether to send an offer now, and sets the time of the next one.
func (p *prober) planOffer(now time.Time) (send, wants bool) {
	if p.offerAnswers {
		p.offerAnswers = false
		send = true
	}
	if !p.offerDue.IsZero() && !now.Before(p.offerDue) {
		send, wants = true, p.offerWants
		p.offerTries++
		p.offerDue = time.Time{}
		// The offer may be lost, or may arrive before the peer knows this node.
		if p.theirs == (credentials{}) {
			p.offerDue = now.Add(100 * time.Millisecond << min(p.offerTries-1, 4))
		}
	}
	return send, wants
}

// planChecks returns the checks that are due now, and when the next one is.
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

// due returns when to check q next; zero: never.
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

// earlier returns the earlier of two times; zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
