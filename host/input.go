package host

import (
	"io"
	"os"
)

// An InputSender sends standard input as frames, as fast as the other side takes it.
type InputSender struct {
	w      *Writer
	credit chan struct{}
	ended  chan struct{}
}

// NewInputSender returns a sender of frames to w.
func NewInputSender(w *Writer) *InputSender {
	s := &InputSender{w: w, credit: make(chan struct{}, 1<<10), ended: make(chan struct{})}
	for range StdinCredit {
		s.credit <- struct{}{}
	}
	return s
}

// Send sends what it reads, and then the end of the input. It returns after End, but End
// cannot end a read of r.
func (s *InputSender) Send(r io.Reader) {
	buf := make([]byte, MaxFrame)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			select {
			case <-s.credit:
			case <-s.ended:
				return
			}
			if s.w.Write(Stdin, buf[:n]) != nil {
				return
			}
		}
		if err != nil {
			_ = s.w.Write(Stdin, nil)
			return
		}
	}
}

// Credit says that the other side has taken a frame.
func (s *InputSender) Credit() {
	select {
	case s.credit <- struct{}{}:
	default:
	}
}

// End ends Send. It is called once.
func (s *InputSender) End() { close(s.ended) }

// An Input writes a program's standard input from its own goroutine, so that a program
// that does not read delays no signals.
type Input struct {
	chunks chan []byte
	done   chan struct{}
}

// NewInput returns an input that calls credit after each chunk that it has written to the
// program's pipe. It closes f.
func NewInput(f *os.File, credit func()) *Input {
	// The sender sends at most StdinCredit chunks without credit; the end takes one more
	// place.
	in := &Input{chunks: make(chan []byte, StdinCredit+1), done: make(chan struct{})}
	go func() {
		defer close(in.done)
		defer f.Close()
		for b := range in.chunks {
			if len(b) == 0 {
				f.Close() // end of standard input
				continue
			}
			_, _ = f.Write(b) // EPIPE: the program does not read any more
			credit()
		}
	}()
	return in
}

// Add queues a chunk; an empty one is the end of standard input. It drops a chunk that
// the sender sends without credit.
func (in *Input) Add(b []byte) {
	select {
	case in.chunks <- append([]byte(nil), b...):
	default:
	}
}

// Close ends the input. Chunks that are not written yet are dropped.
func (in *Input) Close() { close(in.chunks) }
