package launcher

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/transport"
)

// Asleep says what a connect to a node does that is asleep.
type Asleep string

const (
	// AsleepWait waits until the node is awake, for as long as Linux's clients wait for
	// an answer (ETIMEDOUT).
	AsleepWait Asleep = "wait"
	// AsleepFail fails at once with EHOSTUNREACH.
	AsleepFail Asleep = "fail"
)

// ParseAsleep reads a value; empty is AsleepWait.
func ParseAsleep(s string) (Asleep, error) {
	switch a := Asleep(s); a {
	case "":
		return AsleepWait, nil
	case AsleepWait, AsleepFail:
		return a, nil
	}
	return "", fmt.Errorf("%q: use wait or fail", s)
}

// Sleep is for a process that is about to be frozen: it tells the other nodes that this
// node is asleep, and then makes it silent, see Suspend. Their connects wait for it or
// fail, as they choose, and the coordinator keeps its name and address for an hour. The
// node is silent also after an error, which says that the others do not know; after
// [os.ErrProcessDone] the program has ended.
func (p *Program) Sleep(ctx context.Context) error {
	err := p.n.member.present(ctx, func(now *coordinator.Presence) { now.Asleep = true })
	if e := p.Suspend(); errors.Is(e, os.ErrProcessDone) {
		return e
	}
	return err
}

// Wake ends Sleep, see Resume. The node can be used as soon as Wake is called; Wake
// returns when the coordinator tells the others.
func (p *Program) Wake(ctx context.Context) error {
	if err := p.Resume(); err != nil {
		return err
	}
	return p.n.member.present(ctx, func(now *coordinator.Presence) { now.Asleep = false })
}

// awaitAwake waits until a node is awake that is about to be connected to, or fails, as
// the member's configuration says.
func (m *member) awaitAwake(ctx context.Context, to coordinator.Member) error {
	if !to.Asleep {
		return nil
	}
	if m.asleep == AsleepFail {
		return fmt.Errorf("the node is asleep: %w", unix.EHOSTUNREACH)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, acceptWithin,
		fmt.Errorf("the node is asleep: %w", unix.ETIMEDOUT))
	defer cancel()
	err := m.client.AwaitPresence(ctx, to.ID,
		func(p coordinator.Presence) bool { return !p.Asleep })
	if errors.Is(err, coordinator.ErrNoNode) {
		return fmt.Errorf("%w: %w", err, unix.EHOSTUNREACH)
	}
	return err
}

// A sleeper is a node that is asleep, as another one sees it.
type sleeper struct {
	since    time.Time
	looked   bool   // received is set
	received uint64 // bytes from it, at half of the time
	done     bool   // its connections are closed, or are new
}

// forgetSleepers closes the connections to nodes that have been asleep for longer than
// this node waits for a peer, until ctx ends. QUIC would do that, too, but would keep
// what it knows of the paths to them: what it has found out about a node that does not
// answer delays the connections to that node when it is awake.
func (m *member) forgetSleepers(ctx context.Context) {
	all := make(map[uint32]*sleeper)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		asleep, changed := m.client.Sleepers()
		timer.Reset(m.forgetDue(all, asleep, time.Now()))
		select {
		case <-changed:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// forgetDue forgets the sleepers whose time has come. It returns when to look again.
func (m *member) forgetDue(all map[uint32]*sleeper, asleep []coordinator.Member,
	now time.Time) (next time.Duration) {
	next = time.Hour
	here := make(map[uint32]bool, len(asleep))
	for _, who := range asleep {
		here[who.ID] = true
		s := all[who.ID]
		if s == nil {
			s = &sleeper{since: now}
			all[who.ID] = s
		}
		left := m.idle - now.Sub(s.since)
		if !s.looked && left <= m.idle/2 {
			s.looked, s.received = true, m.receivedFrom(who.ID)
		}
		switch {
		case s.done:
		case left > m.idle/2:
			next = min(next, left-m.idle/2)
		case left > 0:
			next = min(next, left)
		default:
			s.done = true
			// It may have woken up just now, and connected before it has said so.
			if m.receivedFrom(who.ID) == s.received {
				m.node.RemovePeer(transport.Peer{ID: who.ID, Key: who.Key})
			}
		}
	}
	for id := range all {
		if !here[id] {
			delete(all, id)
		}
	}
	return next
}

// receivedFrom returns how many bytes have come from a node over its paths.
func (m *member) receivedFrom(id uint32) uint64 {
	for _, p := range m.node.Paths() {
		if p.ID == id {
			return p.BytesReceived
		}
	}
	return 0
}
