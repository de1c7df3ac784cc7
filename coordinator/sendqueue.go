package coordinator

import (
	"context"
	"sync"
)

// outboxLength bounds the frames that wait for one client, besides news, and
// outboxShare those of them that are signals of one node: the others have room, too.
const (
	sendQueueLength = 256
	sendQueueShare  = 64
)

// An outbox holds the frames for one client that are no news: signals to it,
// receipts, mirrors.
type sendQueue struct {
	mu     sync.Mutex
	frames []queuedFrame
	space  chan struct{} // has a token if a sleeper of put should look again
	ready  chan struct{} // has a token if take has something to take
}

// An outgoing frame is a signal if from is set.
type queuedFrame struct {
	frame []byte
	from  *session
}

func newSendQueue() *sendQueue {
	return &sendQueue{space: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
}

// offer adds a frame unless the outbox is full.
func (q *sendQueue) tryAdd(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.addLocked(queuedFrame{frame: frame})
}

// signal adds a signal of a node unless the outbox, or the node's share of it, is full.
func (q *sendQueue) addSignal(from *session, frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	waiting := 0
	for _, f := range q.frames {
		if f.from == from {
			waiting++
		}
	}
	return waiting < sendQueueShare && q.addLocked(queuedFrame{frame, from})
}

func (q *sendQueue) addLocked(f queuedFrame) bool {
	if len(q.frames) >= sendQueueLength {
		return false
	}
	q.frames = append(q.frames, f)
	notify(q.ready)
	return true
}

// put adds a frame, and waits for room until ctx ends. Only the client's own
// reader waits here: a client that does not read its receipts is not read.
func (q *sendQueue) add(ctx context.Context, frame []byte) error {
	for !q.tryAdd(frame) {
		select {
		case <-q.space:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// take returns all frames in their order, and empties the outbox. Signals of nodes
// that have left are dropped: their ids may be those of others by now.
func (q *sendQueue) drain() [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	frames := make([][]byte, 0, len(q.frames))
	for _, f := range q.frames {
		if f.from == nil || !f.from.left.Load() {
			frames = append(frames, f.frame)
		}
	}
	q.frames = nil
	notify(q.space)
	return frames
}

// poke leaves a token in a channel with room for one.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
