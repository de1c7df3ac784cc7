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

// A Link is a connection of the supervisor's own, over the network: between a file that
// it was given and a Meeting. The program knows nothing of it. It is there before the
// program starts, and ends when the meeting ends it, or with the node.
type Link struct {
	To   netip.AddrPort // the meeting's address
	File *os.File       // a stream socket; Run closes it
}

// Hold keeps a program from starting until a byte can be read from the file. The end of
// the file means that the program is not to start. Run closes it.
type Hold struct{ File *os.File }

// errNotStarted means that the end of Hold has come.
var errNotStarted = fmt.Errorf("the program was not started: who ordered it does without it")

// startLink connects a link, if there is one. endLink ends it.
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

// link connects a link. If the meeting cannot be reached, the file's peer reads its end.
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
		n.member.log.Warn("no connection with who ordered this program", "err", err)
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
		end() // who controls the program is gone
	})
	both.Wait()
}

// wait waits until the program may start.
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
