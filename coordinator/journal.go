package coordinator

import "sync"

// journalLength is the number of updates that the journal keeps. A client that is further
// behind gets the whole member list. An update has 43 to 250 bytes.
const journalLength = 4096

// A journal is the sequence of encoded updates that every session sends to its client.
// Each session reads it at its own pace: append never waits for a reader, and slow
// readers do not make it grow.
type journal struct {
	mu       sync.Mutex
	last     uint64        // number of the last update
	log      []byte        // the last len(ends) updates; written bytes never change
	ends     []int         // end of each update in log
	appended chan struct{} // closed and replaced when an update is appended
	retired  bool          // its readers have another journal now
}

func newJournal() *journal { return &journal{appended: make(chan struct{})} }

// append numbers an update and wakes the readers.
func (j *journal) append(update []byte) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.retired {
		return
	}
	j.last++
	if len(j.ends) == 2*journalLength {
		cut := j.ends[journalLength-1]
		j.log = append([]byte(nil), j.log[cut:]...) // a copy, since readers may still use the old array
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

// retire wakes all readers, and ends what they can read here.
func (j *journal) retire() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.retired = true
	close(j.appended)
	j.appended = make(chan struct{})
}

// maxBatch limits the updates in one frame, in bytes, so that they fit maxFrame. One
// update more may follow the limit.
const maxBatch = maxFrame / 2

// seq returns the number of the last update.
func (j *journal) seq() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// after returns the n updates after seq, at most maxUpdates, and a channel that is closed
// when there are more. ok is false if the journal no longer has these updates. The caller
// must not change the bytes, which are shared.
func (j *journal) after(seq uint64) (updates []byte, n int, appended <-chan struct{},
	ok bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	behind := j.last - seq
	if j.retired || behind > uint64(len(j.ends)) {
		return nil, 0, j.appended, false
	}
	first := len(j.ends) - int(behind)
	if n = min(int(behind), maxUpdates); n == 0 {
		return nil, 0, j.appended, true
	}
	from := 0
	if first > 0 {
		from = j.ends[first-1]
	}
	for n > 1 && j.ends[first+n-1]-from > maxBatch {
		n /= 2
	}
	to := j.ends[first+n-1]
	return j.log[from:to:to], n, j.appended, true
}
