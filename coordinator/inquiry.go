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
	silentAfter = 250 * time.Millisecond
	lookEvery   = 50 * time.Millisecond

	// Hundreds may join under one name at once, on hosts that hardly keep up: they are
	// not to be kept from it. So a name is asked about now and then, those first that
	// were not heard for the longest. The last round comes when everybody has given a
	// sign of life of its own (aliveEvery) who can.
	inquiryRounds = 4
	inquiryEvery  = time.Second
	inquiryAsked  = 16
)

// inquiries are the names that somebody has joined under lately.
type inquiries struct {
	mu    sync.Mutex
	names map[string]*inquiry
	// closed and replaced when a node that was asked is heard or gone
	answers chan struct{}
}

type inquiry struct {
	rounds int           // to come
	next   time.Duration // when, as of Server.uptime
}

// about begins to ask about a name.
func (q *inquiries) about(name string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.names == nil {
		q.names = make(map[string]*inquiry)
	}
	if at, ok := q.names[name]; ok {
		at.rounds = inquiryRounds
		return
	}
	q.names[name] = &inquiry{rounds: inquiryRounds}
}

// heard returns a channel that is closed when a node that was asked has answered, or
// is gone.
func (q *inquiries) heard() <-chan struct{} {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.answers == nil {
		q.answers = make(chan struct{})
	}
	return q.answers
}

// answered wakes those who wait for an answer.
func (q *inquiries) answered() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.answers != nil {
		close(q.answers)
		q.answers = nil
	}
}

// tend calls ask for the names whose turn has come.
func (q *inquiries) tend(up time.Duration, ask func(name string)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for name, at := range q.names {
		switch {
		case up < at.next:
		case at.rounds == 0:
			delete(q.names, name)
		default:
			at.rounds--
			at.next = up + inquiryEvery
			ask(name)
		}
	}
}

// patience is how long a node may leave an ask unanswered before it counts as silent. To
// a node that is further away the ask takes longer, and it may get lost on the way.
func (c *session) patience() time.Duration {
	return silentAfter + 2*c.conn.ConnectionStats().SmoothedRTT
}

// ask asks nodes of a name for a sign of life, if there are several.
func (s *Server) ask(name string) {
	all := s.roster.named(name)
	if len(all) < 2 {
		return
	}
	slices.SortFunc(all, func(a, b *session) int {
		return cmp.Compare(a.heard.Load(),
			b.heard.Load())
	})
	for _, c := range all[:min(len(all), inquiryAsked)] {
		if !c.silent { // else the last question stands
			s.askOne(c, s.uptime())
		}
	}
}
