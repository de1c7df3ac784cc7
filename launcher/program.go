package launcher

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/transport"
)

// A Program is a program that runs as a node. Its methods may be called from any
// goroutine.
type Program struct {
	n     *node
	c     *child
	drain time.Duration

	ctx    context.Context // for the wait for the peers; Close cancels it
	cancel context.CancelCauseFunc

	over     chan struct{} // closed when the program has ended, and c.status is set
	commands commandConns

	ready    sync.WaitGroup // announceReady
	endReady context.CancelFunc

	done chan struct{} // closed when code and err are set
	code int
	err  error

	mu        sync.Mutex
	ended     bool // the program has ended
	suspended bool
}

// errClosing ends the wait for the peers in Close.
var errClosing = errors.New("the program was closed")

func newProgram(n *node, c *child, cfg RunConfig) *Program {
	p := &Program{n: n, c: c, drain: cfg.Drain, done: make(chan struct{}),
		endReady: func() {}, over: make(chan struct{})}
	p.commands.serve = cfg.Commands
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// run follows the program to its end and releases everything.
func (p *Program) run() {
	p.code, p.err = p.supervise()
	p.commands.end()
	p.err = errors.Join(p.err, p.n.close())
	p.c.effects.release()
	p.cancel(nil)
	close(p.done)
}

// supervise follows the program until its tree has ended, and the peers have what it
// wrote.
func (p *Program) supervise() (int, error) {
	signals := p.c.effects.signals
	stop := startForwarding(signals, p.c)
	p.c.watch()
	p.mu.Lock()
	p.ended = true
	p.resumeLocked() // unsent data still has to be sent
	p.mu.Unlock()
	close(p.over)
	p.endReady()
	p.ready.Wait()
	p.n.programEnded(p.c.pid, p.c.status)
	stop()
	// A tree that has ended makes no calls.
	err := p.n.endInterposer()
	if p.ctx.Err() == nil {
		err = errors.Join(p.n.drain(p.ctx, p.drain, signals), err)
	}
	return p.c.status, errors.Join(err, p.c.close())
}

// Wait waits until the program and everything that it started have ended, and until the
// peers have read what it wrote, as far as RunConfig.Drain allows. It returns the
// program's exit code, 128+N if signal N ended it. The error says what was not delivered,
// or what else failed. When Wait returns, all resources are released.
func (p *Program) Wait() (int, error) {
	<-p.done
	return p.code, p.err
}

// Done returns a channel that is closed when Wait would return at once.
func (p *Program) Done() <-chan struct{} { return p.done }

// Close kills the program and everything that it started, if they run. It does not wait
// for peers. It leaves the network, waits until all resources are released, and returns
// the error of Wait. It may be called more than once.
func (p *Program) Close() error {
	p.cancel(errClosing)
	p.c.tell(initCommand{Kill: true})
	<-p.done
	return p.err
}

// Signal sends a signal to the program. It fails with [os.ErrProcessDone] if the program
// has ended.
func (p *Program) Signal(sig os.Signal) error {
	s, ok := sig.(unix.Signal)
	if !ok {
		return errors.New("signal the program: not a signal of this system")
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended || !p.c.tell(initCommand{Signal: int(s)}) {
		return os.ErrProcessDone
	}
	return nil
}

// Suspend stops all packets of the node until Resume, heartbeats included. It is for a
// process that is about to be frozen, such as a function between two invocations. Data
// that the program sends meanwhile waits. Peers keep their connections to the node for
// their own peer timeout, 8 s by default. The coordinator keeps the node until its lease
// ends. Suspend fails with [os.ErrProcessDone] if the program has ended.
func (p *Program) Suspend() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return os.ErrProcessDone
	}
	p.suspended = true
	p.n.member.suspend()
	return nil
}

// Resume ends Suspend. The node checks its paths and sends the coordinator a heartbeat at
// once, so both work again within a round trip. Connections that peers have ended
// meanwhile are reset.
func (p *Program) Resume() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ended {
		return os.ErrProcessDone
	}
	p.resumeLocked()
	return nil
}

func (p *Program) resumeLocked() {
	if p.suspended {
		p.suspended = false
		p.n.member.resume()
	}
}

// A Status describes a program and its node.
type Status struct {
	ID          uint32     // of the node in its network
	Name        string     // of the node
	Addr, Addr6 netip.Addr // of the node; Addr6 is zero in a network without IPv6
	PID         int        // of the program
	Ended       bool       // the program has ended
	Suspended   bool
	Ports       []uint16             // where the program listens
	Paths       []transport.PathInfo // to the peers
}

// Status returns the program's current state.
func (p *Program) Status() Status {
	self := p.n.member.client.Self()
	p.mu.Lock()
	defer p.mu.Unlock()
	s := Status{ID: self.ID, Name: self.Name, Addr: self.Addr, Addr6: self.Addr6,
		PID: p.c.pid, Ended: p.ended, Suspended: p.suspended}
	if !p.ended {
		s.Ports, s.Paths = p.n.calls.ListeningPorts(), p.n.member.node.Paths()
	}
	return s
}
