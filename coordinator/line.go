package coordinator

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// A line is a client's connection to the coordinator while it is in use.
type line struct {
	*link
	out  chan []byte   // frames for the writer; unbuffered: what was taken goes out next
	poke chan struct{} // has a token if there is a new report
	ask  chan struct{} // likewise, if a sign of life is asked for

	mu      sync.Mutex
	signals uint64                // number of the last signal
	waiting map[uint64]chan error // who waits for the receipt of which signal
}

// connect makes the link the client's connection.
func (c *Client) connect(l *link) *line {
	n := &line{link: l, out: make(chan []byte), poke: make(chan struct{}, 1),
		ask: make(chan struct{}, 1), waiting: make(map[uint64]chan error)}
	c.replace(l)
	c.use(n)
	c.wills.Lock()
	defer c.wills.Unlock()
	c.bequeathLocked(n)
	return n
}

// use makes n the connection.
func (c *Client) use(n *line) {
	l := n.link
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ticket, c.server, c.reflexive = l.welcome.Ticket, l.server, l.welcome.Reflexive
	if c.reported {
		poke(n.poke)
	}
	c.setLineLocked(n)
}

// replace makes the list that has come over the link the members.
func (c *Client) replace(l *link) {
	c.queue.change(func() []change { return c.dir.replace(l.list, l.settles) })
	l.list = nil
}

// disconnect says that there is no connection.
func (c *Client) disconnect() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setLineLocked(nil)
}

func (c *Client) setLineLocked(n *line) {
	c.line = n
	close(c.relined)
	c.relined = make(chan struct{})
}

// serve runs the connection until it or ctx ends, and returns why.
func (c *Client) serve(n *line) error {
	stop := context.AfterFunc(c.ctx, n.close)
	var writer sync.WaitGroup
	writer.Go(func() { c.write(n) })
	err := c.read(n)
	if r := refusalOf(err); r != nil {
		err = r
	}
	n.close()
	writer.Wait()
	if !stop() {
		// The AfterFunc has begun: CloseWithError above has waited for its end too.
		<-n.conn.Context().Done()
	}
	return err
}

// write sends frames, reports and, when there was nothing else, signs of life.
func (c *Client) write(n *line) {
	every := max(min(leaseOf(n.welcome)/3, aliveEvery), time.Millisecond)
	beat := time.NewTicker(every)
	defer beat.Stop()
	for {
		var b []byte
		select {
		case b = <-n.out:
		case <-n.poke:
			c.mu.Lock()
			about := c.about
			if n.version < 4 {
				about = nil
			}
			b = frame(&message{Report: &report{Paths: c.paths, About: about}})
			c.mu.Unlock()
		case <-n.ask:
			b = frame(&message{Alive: alivePad})
		case <-beat.C:
			b = frame(&message{Alive: alivePad})
		case <-n.conn.Context().Done():
			return
		}
		if _, err := n.stream.Write(b); err != nil {
			n.close()
			return
		}
	}
}

// read takes the coordinator's messages until the connection ends.
func (c *Client) read(n *line) error {
	for {
		m, err := readMessage(n.in, maxFrame)
		if err != nil {
			return err
		}
		switch {
		case m.News != nil:
			if err := c.learn(n, m.News); err != nil {
				return err
			}
		case m.Signal != nil:
			if !c.queue.signal(m.Signal.Node, m.Signal.Data) {
				c.log.Warn("signal dropped: too many wait for the handler", "from",
					m.Signal.Node)
			}
		case m.Receipt != nil:
			n.receive(m.Receipt)
		case m.Ask != nil:
			poke(n.ask)
		case m.Mirror != nil:
			c.mu.Lock()
			c.reflexive = m.Mirror.Reflexive
			c.mu.Unlock()
			c.log.Info("the node is seen at another address", "addr", m.Mirror.Reflexive)
		default:
			kind, _ := m.kind()
			return fmt.Errorf("%w: a coordinator sends no %s", ErrProtocol, kind)
		}
	}
}

// learn takes over news.
func (c *Client) learn(n *line, w *news) error {
	if w.list {
		last, err := n.add(w)
		if last {
			c.replace(n.link)
		}
		return err
	}
	if w.seq != n.seq+uint64(len(w.updates)) {
		return fmt.Errorf("%w: %d updates up to %d after update %d", ErrProtocol,
			len(w.updates), w.seq, n.seq)
	}
	if err := n.check(w); err != nil {
		return err
	}
	n.seq = w.seq
	c.queue.change(func() []change { return c.dir.apply(w.updates) })
	return nil
}

// Signal has the coordinator pass msg, at most MaxSignal bytes, to a node. It
// returns when the coordinator has it in the queue of that node, which is no
// promise that it arrives. It fails with an error that wraps ErrNoNode if the
// node is not there, ErrBusy if it does not keep up, ErrDisconnected if the
// connection was lost before the answer; while there is no connection, it waits
// for one until ctx ends. Signals of one caller after the other arrive in order.
func (c *Client) Signal(ctx context.Context, to uint32, msg []byte) error {
	if err := c.signal(ctx, to, msg); err != nil {
		return fmt.Errorf("signal node %d: %w", to, err)
	}
	return nil
}

func (c *Client) signal(ctx context.Context, to uint32, msg []byte) error {
	if len(msg) > MaxSignal {
		return fmt.Errorf("%d bytes, the most is %d", len(msg), MaxSignal)
	}
	var n *line
	for {
		var err error
		if n, err = c.connected(ctx, n); err != nil {
			return err
		}
		if sent, err := n.signal(ctx, to, msg); sent || err != nil {
			return err
		}
	}
}

// connected returns the connection if it is another than lost, and waits for that
// otherwise.
func (c *Client) connected(ctx context.Context, lost *line) (*line, error) {
	for {
		c.mu.Lock()
		n, relined := c.line, c.relined
		c.mu.Unlock()
		if c.ctx.Err() != nil {
			return nil, context.Cause(c.ctx)
		}
		if n != nil && n != lost {
			return n, nil
		}
		select {
		case <-relined:
		case <-c.ctx.Done():
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
		}
	}
}

// signal sends a signal and waits for the receipt. Without an error, sent false
// says that the connection was lost before any of it went out.
func (n *line) signal(ctx context.Context, to uint32, msg []byte) (sent bool, err error) {
	seq, answer := n.expect()
	defer n.forget(seq)
	lost := n.conn.Context().Done()
	select {
	case n.out <- frame(&message{Signal: &signal{Seq: seq, Node: to, Data: msg}}):
	case <-lost:
		return false, nil
	case <-ctx.Done():
		return false, context.Cause(ctx)
	}
	select {
	case err := <-answer:
		return true, err
	case <-lost:
		return true, ErrDisconnected
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}

// expect numbers a signal, and returns where the answer to it will come.
func (n *line) expect() (uint64, <-chan error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signals++
	answer := make(chan error, 1)
	n.waiting[n.signals] = answer
	return n.signals, answer
}

func (n *line) forget(seq uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.waiting, seq)
}

// receive gives a receipt to who waits for it.
func (n *line) receive(r *receipt) {
	n.mu.Lock()
	defer n.mu.Unlock()
	answer, ok := n.waiting[r.Seq]
	if !ok {
		return // its caller has stopped waiting
	}
	delete(n.waiting, r.Seq)
	switch r.Code {
	case "":
		answer <- nil
	case receiptNoNode:
		answer <- &noNodeError{time.Unix(0, r.At)}
	default:
		answer <- ErrBusy
	}
}

// Report tells the coordinator about this node's paths, for those who ask for
// its status; it replaces the report before and never waits. Reports beyond the
// first 2,000 paths are cut.
func (c *Client) Report(paths []PathReport, about About) {
	kept := make([]PathReport, 0, min(len(paths), maxPaths))
	for _, p := range paths[:min(len(paths), maxPaths)] {
		if !isLabel(p.Kind) {
			p.Kind = "unknown"
		}
		// A zone means something on this host only.
		if p.Remote.Addr().Zone() != "" {
			p.Remote = withoutZone(p.Remote)
		}
		kept = append(kept, p)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	about = about.clean()
	c.paths, c.about, c.reported = kept, &about, true
	if c.line != nil {
		poke(c.line.poke)
	}
}
