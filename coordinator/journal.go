package coordinator

import "sync"

// journalLength is how many events the journal keeps. A client that is further
// behind gets the member list anew. An event has about 300 bytes.
const journalLength = 4096

// A journal is the sequence of membership events, already framed, that every
// session sends to its client. Sessions read it at their own pace: appending
// never waits for a reader, and memory does not grow with the slow ones.
type journal struct {
	mu     sync.Mutex
	last   uint64        // number of the last event
	frames [][]byte      // of the last len(frames) events
	grown  chan struct{} // closed and replaced when an event is appended
}

func newJournal() *journal { return &journal{grown: make(chan struct{})} }

// append numbers the event and wakes the readers.
func (j *journal) append(e event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	e.Seq = j.last
	if len(j.frames) == 2*journalLength {
		j.frames = append(j.frames[:0:0], j.frames[journalLength:]...)
	}
	j.frames = append(j.frames, frame(&message{Event: &e}))
	close(j.grown)
	j.grown = make(chan struct{})
}

// seq returns the number of the last event.
func (j *journal) seq() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// after returns the frames of the events behind seq, and a channel that is
// closed once there are more. It returns ok false if the journal does not reach
// back so far. The frames are shared: they are only read.
func (j *journal) after(seq uint64) (frames [][]byte, grown <-chan struct{}, ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	behind := j.last - seq
	if behind > uint64(len(j.frames)) {
		return nil, j.grown, false
	}
	return j.frames[uint64(len(j.frames))-behind:], j.grown, true
}
