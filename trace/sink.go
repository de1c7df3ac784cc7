package trace

import (
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"
	"time"
)

const (
	// sinkBuffer bounds what a Sink holds, in bytes, unless its user says otherwise: some
	// 10,000 calls.
	sinkBuffer = 4 << 20

	// gatherFor is how long a Sink waits for more before it writes: it bounds how often
	// the thread that answers calls has to wake the writing goroutine, and is too short
	// to be seen.
	gatherFor = 20 * time.Millisecond

	// retryEvery is how often a Sink tries again when the disk is full.
	retryEvery = 200 * time.Millisecond
)

// A Sink takes events and has a goroutine write their lines. Put never waits for it:
// while the reader is slow or the disk full, events that find no room are dropped and
// counted, and an event Dropped tells readers at that place.
type Sink struct {
	out    io.WriteCloser
	bound  int
	filled chan struct{} // capacity 1: there is something to write
	closed chan struct{} // no more is to come
	ended  chan struct{} // the goroutine has ended

	mu   sync.Mutex
	fill []byte // lines to be written
	// events dropped since the last one in fill: the goroutine adds the event that says
	// so
	lost    uint64
	dropped uint64 // in all
	lastAt  Base   // of the last that was dropped
	over    bool   // Close was called, or out is broken
	err     error  // what broke out
}

// NewSink returns a Sink that writes lines to out, whole ones only, with one Write at a
// time. It holds up to buffer bytes, twice that while it writes; 0 means 4 MiB. If out's
// Write fails because the disk is full, the rest is tried again later; any other error
// ends it. Close closes out.
func NewSink(out io.WriteCloser, buffer int) *Sink {
	if buffer <= 0 {
		buffer = sinkBuffer
	}
	s := &Sink{
		out: out, bound: buffer,
		filled: make(chan struct{}, 1), closed: make(chan struct{}),
		ended: make(chan struct{}),
	}
	go s.run()
	return s
}

// Put takes an event. It keeps nothing of it, does not wait, and allocates nothing in the
// long run.
func (s *Sink) Put(e Event) {
	s.mu.Lock()
	if s.over {
		s.mu.Unlock()
		return
	}
	before := len(s.fill)
	if s.lost == 0 {
		s.fill = Append(s.fill, e)
	}
	// once there is no room, nothing overtakes what was dropped
	if s.lost > 0 || len(s.fill) > s.bound {
		s.fill = s.fill[:before]
		s.lost++
		s.dropped++
		s.lastAt = *e.At()
	}
	wake := before == 0 || len(s.fill) >= s.bound/2
	s.mu.Unlock()
	if wake {
		select {
		case s.filled <- struct{}{}:
		default:
		}
	}
}

// Dropped returns how many events were dropped until now.
func (s *Sink) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Done is closed when nothing is written any more: after Close, or when the reader has
// gone.
func (s *Sink) Done() <-chan struct{} { return s.ended }

// Err returns what ended the Sink before Close, nil if nothing did.
func (s *Sink) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close writes what is left, for as long as patience at most, and closes the writer. It
// returns what could not be written. A Write that hangs although its writer is closed is
// left behind.
func (s *Sink) Close(patience time.Duration) error {
	s.mu.Lock()
	if !s.over {
		s.over = true
		close(s.closed)
	}
	s.mu.Unlock()
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-s.ended:
	case <-late.C:
		s.fail(fmt.Errorf("write trace: not done within %v", patience))
	}
	err := s.out.Close() // wakes a Write that hangs
	if broken := s.Err(); broken != nil {
		return broken
	}
	if err != nil {
		return fmt.Errorf("close trace: %w", err)
	}
	return nil
}

// fail keeps the first error, and ends the Sink.
func (s *Sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.err == nil {
		s.err = err
	}
}

// run writes what was filled until the Sink is closed or broken.
func (s *Sink) run() {
	defer close(s.ended)
	var drain []byte
	for {
		last := s.wait()
		s.mu.Lock()
		if s.lost > 0 {
			s.fill = Append(s.fill, &Dropped{Base: s.lastAt, Count: s.lost})
			s.lost = 0
		}
		s.fill, drain = drain[:0], s.fill
		s.mu.Unlock()
		if err := s.write(drain); err != nil {
			s.fail(fmt.Errorf("write trace: %w", err))
			return
		}
		if last {
			return
		}
	}
}

// wait returns when there is something to write, after some time for more to come; and at
// the end, with true.
func (s *Sink) wait() (last bool) {
	select {
	case <-s.closed:
		return true
	case <-s.filled:
	}
	gather := time.NewTimer(gatherFor)
	defer gather.Stop()
	select {
	case <-gather.C:
	case <-s.filled: // half full
	case <-s.closed:
		return true
	}
	return false
}

// write writes lines, and goes on where it stopped while the disk is full.
func (s *Sink) write(lines []byte) error {
	for len(lines) > 0 {
		n, err := s.out.Write(lines)
		lines = lines[max(0, min(n, len(lines))):]
		switch {
		case err == nil:
		case !full(err):
			return err
		case s.isOver():
			return err
		default:
			retry := time.NewTimer(retryEvery)
			select {
			case <-retry.C:
			case <-s.closed: // one more try
			}
			retry.Stop()
		}
	}
	return nil
}

func (s *Sink) isOver() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.over
}

// full is true of errors that pass when others make room.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
