package coordinator

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// A node that joins under a name may replace a node of that name that was killed, which
// the server would otherwise notice only when the lease ends. So the server pings the
// holders of the name. A node that does not reply within basePingTimeout plus two round
// trips is unresponsive: it stays a member, but the other nodes avoid it while another
// node has the name.
const (
	basePingTimeout = 250 * time.Millisecond
	checkInterval   = 50 * time.Millisecond

	// Hundreds of nodes may join under one name at once, on busy hosts. Pings must not
	// keep them from joining. So the server pings a name only every probeInterval, and at
	// most probeFanout holders, beginning with those that it has not heard for the
	// longest time. The last round comes after every live holder has sent a heartbeat
	// (heartbeatInterval).
	probeRounds   = 4
	probeInterval = time.Second
	probeFanout   = 16
)

// livenessProbes holds the names under which nodes have joined recently.
type livenessProbes struct {
	mu     sync.Mutex
	byName map[string]*livenessProbe
	// closed and replaced when a node that was pinged has answered or left
	responses chan struct{}
}

type livenessProbe struct {
	roundsLeft int           // rounds of pings that are left
	nextAt     time.Duration // time of the next round, by Server.uptime
}

// start starts the rounds of pings for a name.
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

// responded returns a channel that is closed when a node that was pinged has answered or
// left.
func (p *livenessProbes) responded() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.responses == nil {
		p.responses = make(chan struct{})
	}
	return p.responses
}

// notifyResponse wakes the goroutines that wait for an answer.
func (p *livenessProbes) notifyResponse() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.responses != nil {
		close(p.responses)
		p.responses = nil
	}
}

// runDue calls ping for the names whose next round is due.
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

// pingTimeout is how long a node may leave a ping unanswered before it is unresponsive.
// The ping takes longer to a distant node, and may get lost.
func (c *session) pingTimeout() time.Duration {
	return basePingTimeout + 2*c.conn.ConnectionStats().SmoothedRTT
}

// pingHolders pings nodes of a name if there are several.
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
		if !c.unresponsive && !c.asleep.Load() { // otherwise the last ping is still unanswered
			s.ping(c, s.uptime())
		}
	}
}
