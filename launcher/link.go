package launcher

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"

	"github.com/boxer-sandbox/boxer/transport"
)

// A Link is a connection of the supervisor's own over the network. It connects a file
// that the supervisor was given with a Meeting. The program does not see it. The
// supervisor connects it before the program starts. It ends when the Meeting ends it, or
// with the node.
type Link struct {
	To   netip.AddrPort // the meeting's address
	File *os.File       // a stream socket, which Run closes
}

// Hold delays a program's start until a byte can be read from File. At end of file, the
// program does not start. Run closes File.
type Hold struct{ File *os.File }

// errNotStarted means that Hold has reached end of file.
var errNotStarted = fmt.Errorf("the program was not started: the launcher that ordered it does without it")

// startLink connects a Link, if l is not nil. endLink ends it.
func (n *node) startLink(l *Link) {
	if l == nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.link(ctx, *l)
	}()
	n.endLink = func() { cancel(); <-ended }
}

// link connects a Link and copies data until it ends. If the Meeting cannot be reached,
// it closes the file, and its peer reads end of file.
func (n *node) link(ctx context.Context, l Link) {
	defer l.File.Close()
	self := n.member.client.Self()
	from := self.Addr
	if l.To.Addr().Is6() {
		from = self.Addr6
	}
	s, err := n.member.open(ctx, transport.Header{Source: netip.AddrPortFrom(from, 0),
		Destination: l.To})
	if ctx.Err() != nil {
		return // the program has ended already
	}
	if err != nil {
		n.member.log.Warn("no connection with the launcher that ordered this program", "err", err)
		return
	}
	carry(ctx, l.File, s)
}

// carry copies both ways between a file and a stream, until either ends or ctx does.
func carry(ctx context.Context, f io.ReadWriteCloser, s *transport.Stream) {
	var both sync.WaitGroup
	end := func() { f.Close(); s.Reset() }
	defer context.AfterFunc(ctx, end)()
	both.Go(func() {
		if _, err := io.Copy(s, f); err != nil {
			end()
			return
		}
		_ = s.CloseWrite()
	})
	both.Go(func() {
		_, _ = io.Copy(f, s)
		end() // the controlling process has closed its end
	})
	both.Wait()
}

// wait waits until the program may start. It fails with errNotStarted if it must not.
func (h Hold) wait(ctx context.Context) error {
	if h.File == nil {
		return nil
	}
	defer h.File.Close()
	defer context.AfterFunc(ctx, func() { h.File.Close() })()
	if _, err := io.ReadFull(h.File, make([]byte, 1)); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		return errNotStarted
	}
	return nil
}
