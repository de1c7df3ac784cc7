package coordinator

import (
	"context"
	"time"

	"golang.org/x/time/rate"
)

// Limits keep one member from taking the coordinator, or another member, from the
// others. A message costs one unit, and one for each KiB. A node that sends its
// offers, some 400 bytes each, to all of a thousand others at once stays below.
const (
	messageRate  = 1024 // units a second, of one member
	messageBurst = 4096

	// Signals of one member to another one: two nodes that look for a path send
	// some ten in the first seconds.
	signalRate  = 32 // a second
	signalBurst = 256

	// maxPairs bounds the receivers that are remembered for one sender, at some 100
	// bytes each. As messageRate bounds the signals, and a limiter is full again
	// after signalBurst/signalRate seconds, no more than twice as many are in use.
	maxPairs = messageBurst + messageRate*signalBurst/signalRate

	// overrunEvery is how often the log says that a member sends too much.
	warnInterval = time.Minute
)

// limits are those of one member. The goroutine that reads its messages has them.
type limits struct {
	messages *rate.Limiter
	signals  map[uint32]*rate.Limiter // by receiver
	warnedAt time.Time                // when the log said last that it sends too much
}

func newLimits() *limits {
	return &limits{messages: rate.NewLimiter(messageRate, messageBurst),
		signals: make(map[uint32]*rate.Limiter)}
}

// await waits until the member may send a message of that many bytes. Meanwhile
// nothing is read from it, and the windows of its connection fill: it is slower
// than it wants to be, and loses nothing. slowed tells whether it had to wait.
func (l *limits) wait(ctx context.Context, size int) (slowed bool, err error) {
	r := l.messages.ReserveN(time.Now(), min(1+size>>10, messageBurst))
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

// signal tells whether the member may send another signal to a node now.
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

// overrun tells whether the log is to say now that the member sends too much.
func (l *limits) mayWarn() bool {
	now := time.Now()
	if !l.warnedAt.IsZero() && now.Sub(l.warnedAt) < warnInterval {
		return false
	}
	l.warnedAt = now
	return true
}
