package coordinator

import "sync"

// journalLength is how many updates the journal keeps. A client that is further
// behind gets the member list anew. An update has 43 to 250 bytes.
const journalLength = 4096

// A journal is the sequence of changes, already encoded, that every
// session sends to its client. Sessions read it at their own pace: appending
// never waits for a reader, and memory does not grow with the slow ones.
type journal struct {
	mu       sync.Mutex
	last     uint64        // number of the last update
	log      []byte        // the last len(ends) updates; what is written stays as it is
	ends     []int         // where each of them ends in log
	appended chan struct{} // closed and replaced when an update is appended
}

func newJournal() *journal { return &journal{appended: make(chan struct{})} }

// append numbers an update and wakes the readers.
func (j *journal) append(update []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	if len(j.ends) == 2*journalLength {
		cut := j.ends[journalLength-1]
		j.log = append([]byte(nil), j.log[cut:]...) // readers may be at the old one
		j.ends = append(j.ends[:0], j.ends[journalLength:]...)
		for i := range j.ends {
			j.ends[i] -= cut
		}
	}
	j.log = append(j.log, update...)
	j.ends = append(j.ends, len(j.log))
	close(j.appended)
	j.appended = make(chan struct{})
}

// seq returns the number of the last update.
func (j *journal) seq() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// after returns the n updates behind seq, at most maxUpdates, and a channel that is
// closed once there are others than now. It returns ok false if the journal does not
// reach back so far. The bytes are shared: they are only read.
func (j *journal) after(seq uint64) (updates []byte, n int, appended <-chan struct{},
	ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	behind := j.last - seq
	if behind > uint64(len(j.ends)) {
		return nil, 0, j.appended, false
	}
	first := len(j.ends) - int(behind)
	if n = min(int(behind), maxUpdates); n == 0 {
		return nil, 0, j.appended, true
	}
	from, to := 0, j.ends[first+n-1]
	if first > 0 {
		from = j.ends[first-1]
	}
	return j.log[from:to:to], n, j.appended, true
}
