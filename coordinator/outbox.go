package coordinator

import (
	"context"
	"sync"
)

// outboxLength bounds the frames that wait for one client, besides news, and
// outboxShare those of them that are signals of one node: the others have room, too.
const (
	outboxLength = 256
	outboxShare  = 64
)

// An outbox holds the frames for one client that are no news: signals to it,
// receipts, mirrors.
type outbox struct {
	mu     sync.Mutex
	frames []outgoing
	room   chan struct{} // has a token if a sleeper of put should look again
	filled chan struct{} // has a token if take has something to take
}

// An outgoing frame is a signal if from is set.
type outgoing struct {
	frame []byte
	from  *session
}

func newOutbox() *outbox {
	return &outbox{room: make(chan struct{}, 1), filled: make(chan struct{}, 1)}
}

// offer adds a frame unless the outbox is full.
func (o *outbox) offer(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.addLocked(outgoing{frame: frame})
}

// signal adds a signal of a node unless the outbox, or the node's share of it, is full.
func (o *outbox) signal(from *session, frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	waiting := 0
	for _, f := range o.frames {
		if f.from == from {
			waiting++
		}
	}
	return waiting < outboxShare && o.addLocked(outgoing{frame, from})
}

func (o *outbox) addLocked(f outgoing) bool {
	if len(o.frames) >= outboxLength {
		return false
	}
	o.frames = append(o.frames, f)
	poke(o.filled)
	return true
}

// put adds a frame, and waits for room until ctx ends. Only the client's own
// reader waits here: a client that does not read its receipts is not read.
func (o *outbox) put(ctx context.Context, frame []byte) error {
	for !o.offer(frame) {
		select {
		case <-o.room:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// take returns all frames in their order, and empties the outbox. Signals of nodes
// that have left are dropped: their ids may be those of others by now.
func (o *outbox) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames := make([][]byte, 0, len(o.frames))
	for _, f := range o.frames {
		if f.from == nil || !f.from.left.Load() {
			frames = append(frames, f.frame)
		}
	}
	o.frames = nil
	poke(o.room)
	return frames
}

// poke leaves a token in a channel with room for one.
func poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
