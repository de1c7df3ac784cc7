package coordinator

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// A node that joins under a name that others have may replace one of them that
// was killed, which nobody would notice before its lease ends. So these are asked for
// a sign of life. Who does not give it within silentAfter and two round trips remains
// a member, but the others leave it out where they have the choice.
const (
	basePingTimeout = 250 * time.Millisecond
	checkInterval   = 50 * time.Millisecond

	// Hundreds may join under one name at once, on hosts that hardly keep up: they are
	// not to be kept from it. So a name is asked about now and then, those first that
	// were not heard for the longest. The last round comes when everybody has given a
	// sign of life of its own (aliveEvery) who can.
	probeRounds   = 4
	probeInterval = time.Second
	probeFanout   = 16
)

// inquiries are the names that somebody has joined under lately.
type livenessProbes struct {
	mu     sync.Mutex
	byName map[string]*livenessProbe
	// closed and replaced when a node that was asked is heard or gone
	responses chan struct{}
}

type livenessProbe struct {
	roundsLeft int           // to come
	nextAt     time.Duration // when, as of Server.uptime
}

// about begins to ask about a name.
func (p *livenessProbes) start(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.byName == nil {
		p.byName = make(map[string]*livenessProbe)
	}
	if probe, ok := p.byName[name]; ok {
		probe.roundsLeft = probeRounds
		return
	}
	p.byName[name] = &livenessProbe{roundsLeft: probeRounds}
}

// heard returns a channel that is closed when a node that was asked has answered, or
// is gone.
func (p *livenessProbes) responded() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.responses == nil {
		p.responses = make(chan struct{})
	}
	return p.responses
}

// answered wakes those who wait for an answer.
func (p *livenessProbes) notifyResponse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.responses != nil {
		close(p.responses)
		p.responses = nil
	}
}

// tend calls ask for the names whose turn has come.
func (p *livenessProbes) runDue(up time.Duration, ping func(name string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, probe := range p.byName {
		switch {
		case up < probe.nextAt:
		case probe.roundsLeft == 0:
			delete(p.byName, name)
		default:
			probe.roundsLeft--
			probe.nextAt = up + probeInterval
			ping(name)
		}
	}
}

// patience is how long a node may leave an ask unanswered before it counts as silent. To
// a node that is further away the ask takes longer, and it may get lost on the way.
func (c *session) pingTimeout() time.Duration {
	return basePingTimeout + 2*c.conn.ConnectionStats().SmoothedRTT
}

// ask asks nodes of a name for a sign of life, if there are several.
func (s *Server) pingHolders(name string) {
	all := s.members.sessionsNamed(name)
	if len(all) < 2 {
		return
	}
	slices.SortFunc(all, func(a, b *session) int {
		return cmp.Compare(a.lastHeard.Load(),
			b.lastHeard.Load())
	})
	for _, c := range all[:min(len(all), probeFanout)] {
		if !c.unresponsive { // else the last question stands
			s.ping(c, s.uptime())
		}
	}
}
