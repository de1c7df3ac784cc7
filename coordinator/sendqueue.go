package coordinator

import (
	"context"
	"sync"
)

// sendQueueLength limits the frames that wait for one client, besides updates.
// sendQueueShare limits the signals of one sender among them, so that other senders have
// room, too.
const (
	sendQueueLength = 256
	sendQueueShare  = 64
)

// A sendQueue holds the frames for one client that are not updates of the membership:
// signals to it, acks, pings, and its observed address.
type sendQueue struct {
	mu     sync.Mutex
	frames []queuedFrame
	space  chan struct{} // has a token if a waiting add should try again
	ready  chan struct{} // has a token if drain has something to return
}

// A queuedFrame is a signal if from is set.
type queuedFrame struct {
	frame []byte
	from  *session
}

func newSendQueue() *sendQueue {
	return &sendQueue{space: make(chan struct{}, 1), ready: make(chan struct{}, 1)}
}

// tryAdd adds a frame unless the queue is full.
func (q *sendQueue) tryAdd(frame []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.addLocked(queuedFrame{frame: frame})
}

// addSignal adds a signal of a node unless the queue, or the node's share of it, is full.
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

// add adds a frame, and waits for room until ctx ends. Only the client's own readLoop
// waits here: the server does not read from a client that does not read its acks.
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

// drain returns all frames in their order, and empties the queue. It drops signals of
// nodes that have left, since their ids may belong to other nodes now.
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

// notify puts a token into a channel that has room for one.
func notify(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
