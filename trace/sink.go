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
	// sinkBuffer limits what a Sink holds, in bytes, unless its user chooses another
	// limit. It has room for about 10,000 calls.
	sinkBuffer = 4 << 20

	// gatherFor is how long a Sink gathers lines before it writes them. It limits how
	// often the thread that answers calls has to wake the writing goroutine. It is too
	// short to be noticed.
	gatherFor = 20 * time.Millisecond

	// retryEvery is how often a Sink retries when the disk is full.
	retryEvery = 200 * time.Millisecond
)

// A Sink takes events, and writes their lines on its own goroutine. Put never waits for
// it: while the reader is slow or the disk full, the Sink drops and counts events for
// which it has no room. An event Dropped at that place tells readers.
type Sink struct {
	out    io.WriteCloser
	bound  int
	filled chan struct{} // has a token if there is something to write
	closed chan struct{} // closed when no more events come
	ended  chan struct{} // closed when the goroutine has ended

	mu   sync.Mutex
	fill []byte // lines to write
	// events dropped since the last line in fill; the goroutine adds the event Dropped
	lost    uint64
	dropped uint64 // number of all dropped events
	lastAt  Base   // of the last dropped event
	over    bool   // Close was called, or out has failed
	err     error  // why out failed
}

// NewSink returns a Sink that writes lines to out, only whole ones, with one Write at a
// time. It holds up to buffer bytes, and twice that while it writes; 0 means 4 MiB. If
// out's Write fails because the disk is full, the Sink retries the rest later. Any other
// error ends the Sink. Close closes out.
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

// Put takes an event. It does not retain the event and does not wait. Once its buffers
// have grown, it allocates nothing.
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
	// without room, no event may overtake the dropped ones
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

// Dropped returns the number of events that were dropped so far.
func (s *Sink) Dropped() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dropped
}

// Done returns a channel that is closed when the Sink writes no more: after Close, or
// when the reader has gone.
func (s *Sink) Done() <-chan struct{} { return s.ended }

// Err returns what ended the Sink before Close, or nil.
func (s *Sink) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close writes what is left, for at most patience, and closes the writer. It returns an
// error if it could not write everything. It does not wait for a Write that hangs
// although its writer is closed.
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

// fail records the first error, and ends the Sink.
func (s *Sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.err == nil {
		s.err = err
	}
}

// run writes lines until the Sink is closed or has failed.
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

// wait returns when there is something to write, after some time for more to come. At the
// end it returns true.
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

// write writes lines. While the disk is full, it retries from where it stopped.
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
			case <-s.closed: // one more attempt
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

// full reports whether err passes when other programs free disk space.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}
