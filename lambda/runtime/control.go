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
		input := host.NewInput(e.stdin, func() { _ = w.Write(host.Credit, nil) })
		e.obey(p, input)
		input.Close()
	}
	if c.Hold && e.hold != nil {
		e.hold.Close() // a program that is still held must not start
	}
	if !c.Keep {
		end.soon("the launcher is gone")
	}
}

// obey handles the frames of the control connection.
func (e *ends) obey(p *os.Process, in *host.Input) {
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
			in.Add(payload)
		}
	}
}
