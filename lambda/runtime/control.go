package runtime

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host"
)

// serve does what comes over the control connection until it ends, and then ends the
// program: its launcher is gone.
func (e *ends) serve(p *os.Process, c *host.Control, end *ending) {
	w := host.NewWriter(e.control)
	if w.Write(host.Key, []byte(c.Key)) == nil {
		input := newInput(e.stdin, func() { _ = w.Write(host.Credit, nil) })
		e.obey(p, input)
		input.close()
	}
	if c.Hold && e.hold != nil {
		e.hold.Close() // nobody will say that it may start
	}
	end.soon("the launcher is gone")
}

// obey does what the frames of the control connection say.
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
				_ = p.Signal(unix.Signal(payload[0])) // which passes it on
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

// An input writes the program's standard input from a goroutine of its own, so that a
// program that does not read holds up no signals.
type input struct {
	chunks chan []byte
	done   chan struct{}
}

// newInput returns an input that calls credit for each chunk that the program's pipe has
// taken.
func newInput(f *os.File, credit func()) *input {
	// The launcher keeps to StdinCredit, and the end takes a place.
	in := &input{chunks: make(chan []byte, host.StdinCredit+1), done: make(chan struct{})}
	go func() {
		defer close(in.done)
		defer f.Close()
		for b := range in.chunks {
			if len(b) == 0 {
				f.Close() // the end
				continue
			}
			_, _ = f.Write(b) // EPIPE: the program does not read any more
			credit()
		}
	}()
	return in
}

// add takes a chunk, or, if it is empty, the end. A launcher that sends more than it may
// loses it.
func (in *input) add(b []byte) {
	select {
	case in.chunks <- append([]byte(nil), b...):
	default:
	}
}

// close ends the input; what the program has not taken is dropped with its pipe.
func (in *input) close() { close(in.chunks) }
