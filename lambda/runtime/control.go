package runtime

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host"
)

// serve handles the frames of the control connection until it ends. Then it ends the
// program, whose launcher has left.
func (e *ends) serve(p *os.Process, c *host.Control, end *ending) {
	w := host.NewWriter(e.control)
	if w.Write(host.Key, []byte(c.Key)) == nil {
		input := newInput(e.stdin, func() { _ = w.Write(host.Credit, nil) })
		e.obey(p, input)
		input.close()
	}
	if c.Hold && e.hold != nil {
		e.hold.Close() // a program that is still held must not start
	}
	end.soon("the launcher is gone")
}

// obey handles the frames of the control connection.
func (e *ends) obey(p *os.Process, in *input) {
	r := host.NewReader(e.control)
	for {
		kind, payload, err := r.Read()
		if err != nil {
			return
		}
		switch kind {
		case host.Signal:
			if len(payload) == 1 {
				_ = p.Signal(unix.Signal(payload[0])) // boxer run forwards it
			}
		case host.Start:
			if e.hold != nil {
				_, _ = e.hold.Write([]byte{1})
			}
		case host.Stdin:
			in.add(payload)
		}
	}
}

// An input writes the program's standard input from its own goroutine, so that a program
// that does not read delays no signals.
type input struct {
	chunks chan []byte
	done   chan struct{}
}

// newInput returns an input that calls credit after each chunk that it has written to the
// program's pipe.
func newInput(f *os.File, credit func()) *input {
	// The launcher sends at most StdinCredit chunks without credit; the end takes one
	// more place.
	in := &input{chunks: make(chan []byte, host.StdinCredit+1), done: make(chan struct{})}
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

// add queues a chunk; an empty one is the end of standard input. It drops a chunk that
// the launcher sends without credit.
func (in *input) add(b []byte) {
	select {
	case in.chunks <- append([]byte(nil), b...):
	default:
	}
}

// close ends the input. Chunks that are not written yet are dropped.
func (in *input) close() { close(in.chunks) }
