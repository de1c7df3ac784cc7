package coordinator

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// Limits keep one member from monopolising the coordinator or another member. A message
// costs one unit, and one more for each KiB. A node that sends its offers, about 400
// bytes each, to 1,000 other nodes at once stays below the limits.
const (
	messageRate  = 1024 // units per second, per member
	messageBurst = 4096

	// Signals of one member to another: two nodes that look for a path send about ten of
	// them in the first seconds.
	signalRate  = 32 // per second
	signalBurst = 256

	// Changes of one member's presence, each of which goes to all others. A function
	// sleeps and wakes with every invocation, which takes two changes.
	presenceRate  = 32 // per second
	presenceBurst = 256

	// maxPairs limits the receivers that the limits of one sender remember, at about 100
	// bytes each. messageRate limits the signals, and a limiter is full again after
	// signalBurst/signalRate seconds. So at most twice as many are in use.
	maxPairs = messageBurst + messageRate*signalBurst/signalRate

	// warnInterval is how often the log repeats a warning about one member.
	warnInterval = time.Minute
)

// limits are the limits of one member. Its readLoop owns them.
type limits struct {
	messages  *rate.Limiter
	presences *rate.Limiter
	signals   map[uint32]*rate.Limiter // by receiver
	warnedAt  time.Time                // time of the last warning
}

func newLimits() *limits {
	return &limits{messages: rate.NewLimiter(messageRate, messageBurst),
		presences: rate.NewLimiter(presenceRate, presenceBurst),
		signals:   make(map[uint32]*rate.Limiter)}
}

// wait waits until the member may send a message of that many bytes. Meanwhile the server
// reads nothing from the member, and the windows of its connection fill: the member slows
// down, but loses nothing. slowed reports whether wait had to wait.
func (l *limits) wait(ctx context.Context, size int) (slowed bool, err error) {
	return await(ctx, l.messages.ReserveN(time.Now(), min(1+size>>10, messageBurst)))
}

// waitPresence is wait for a change of the member's presence.
func (l *limits) waitPresence(ctx context.Context) (slowed bool, err error) {
	return await(ctx, l.presences.ReserveN(time.Now(), 1))
}

// await waits for a reservation.
func await(ctx context.Context, r *rate.Reservation) (slowed bool, err error) {
	d := r.Delay()
	if d == 0 {
		return false, nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true, nil
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

// signal reports whether the member may send another signal to a node now.
func (l *limits) signal(to uint32) bool {
	now := time.Now()
	pair := l.signals[to]
	if pair == nil {
		if len(l.signals) >= maxPairs {
			for id, p := range l.signals {
				if p.TokensAt(now) >= signalBurst {
					delete(l.signals, id)
				}
			}
		}
		if len(l.signals) >= maxPairs {
			return false
		}
		pair = rate.NewLimiter(signalRate, signalBurst)
		l.signals[to] = pair
	}
	return pair.AllowN(now, 1)
}

// mayWarn reports whether the log may now warn that the member sends too much.
func (l *limits) mayWarn() bool {
	now := time.Now()
	if !l.warnedAt.IsZero() && now.Sub(l.warnedAt) < warnInterval {
		return false
	}
	l.warnedAt = now
	return true
}
