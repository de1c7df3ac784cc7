package coordinator

import (
	"context"
	"sync"
)

// outboxLength bounds the frames that wait for one client, besides news.
const outboxLength = 256

// An outbox holds the frames for one client that are no news: signals to it,
// receipts, mirrors.
type outbox struct {
	mu     sync.Mutex
	frames [][]byte
	room   chan struct{} // has a token if a sleeper of put should look again
	filled chan struct{} // has a token if take has something to take
}

func newOutbox() *outbox {
	return &outbox{room: make(chan struct{}, 1), filled: make(chan struct{}, 1)}
}

// offer adds a frame unless the outbox is full.
func (o *outbox) offer(frame []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.frames) >= outboxLength {
		return false
	}
	o.frames = append(o.frames, frame)
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

// take returns all frames in their order, and empties the outbox.
func (o *outbox) take() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	frames := o.frames
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
