package launcher

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/transport"
)

// A CommandConn is a connection of somebody who wants to control a node.
type CommandConn struct {
	io.ReadWriteCloser

	// Trusted says that the other end is a process of this user, or of root, on this
	// host.
	Trusted bool

	// Binding is the same at both ends, and differs for all other pairs of nodes: the
	// identity of the node that is controlled, and that of the other end.
	Binding []byte

	proven func() // nil: nothing is to be proven
}

// Proven says that the other end has proven that it may control the node. The node has
// few connections of others. Proven may be called more than once.
func (c *CommandConn) Proven() {
	if c.proven != nil {
		c.proven()
	}
}

// isCommand reports whether a stream is for the supervisor of a node: it is between the
// ports 0 of two nodes, where nobody can listen, and which nobody connects from.
func isCommand(h transport.Header) bool {
	return h.Source.Port() == 0 && h.Destination.Port() == 0 &&
		h.Source.Addr() != h.Destination.Addr() && !h.HostAddr.IsValid()
}

// binding returns what CommandConn.Binding has.
func binding(controlled, other transport.Key) []byte {
	return append(slices.Clone(controlled[:]), other[:]...)
}

// commandConns are the connections of those who control a program.
type commandConns struct {
	serve func(*Program, *CommandConn) // nil: nobody controls it
	all   sync.WaitGroup

	unproven unproven

	mu    sync.Mutex
	conns map[io.Closer]struct{}
	ended bool
}

// run serves a connection until it ends. It closes the connection at once if nobody
// controls the program, or not any more.
func (c *commandConns) run(p *Program, conn *CommandConn) {
	defer conn.Close()
	c.mu.Lock()
	if c.serve == nil || c.ended {
		c.mu.Unlock()
		return
	}
	if c.conns == nil {
		c.conns = make(map[io.Closer]struct{})
	}
	c.conns[conn] = struct{}{}
	c.all.Add(1)
	c.mu.Unlock()
	defer c.all.Done()
	c.serve(p, conn)
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, conn)
}

// commandsEnd bounds how long those who control a program may take to hear of its end.
const commandsEnd = 2 * time.Second

// end waits for those who are told that the program has ended, and then closes all
// connections.
func (c *commandConns) end() {
	c.mu.Lock()
	c.ended = true
	c.mu.Unlock()
	told := make(chan struct{})
	go func() { c.all.Wait(); close(told) }()
	select {
	case <-told:
		return
	case <-time.After(commandsEnd):
	}
	c.mu.Lock()
	for conn := range c.conns {
		conn.Close()
	}
	c.mu.Unlock()
	<-told
}

// takeCommand serves a stream of isCommand.
func (n *node) takeCommand(s *transport.Stream) {
	p := n.program.Load()
	peer, ok := n.member.client.ByID(s.Peer())
	if p == nil || !ok || p.commands.serve == nil {
		_ = s.Answer(transport.StatusRefused)
		return
	}
	proven, ok := p.commands.unproven.admit(s.Peer())
	if !ok {
		_ = s.Answer(transport.StatusRefused)
		return
	}
	defer proven()
	if s.Answer(transport.StatusOK) != nil {
		s.Reset()
		return
	}
	self := n.member.client.Self()
	p.commands.run(p, &CommandConn{ReadWriteCloser: &MeetingConn{s},
		Binding: binding(self.Key, peer.Key), proven: proven})
}

// Ended returns a channel that is closed when the program has ended. Status has its exit
// code then. The node may go on for a while, see Wait.
func (p *Program) Ended() <-chan struct{} { return p.over }

// ExitCode returns the program's exit code, once Ended says that there is one.
func (p *Program) ExitCode() int {
	<-p.over
	return p.c.status
}

// ErrNoCommands means that a node takes no commands: it is about to start or to end, its
// boxer is of an older version, or too many connections to it have proven nothing yet.
var ErrNoCommands = errors.New("the node takes no commands")

// Command connects to the supervisor of a node, which has RunConfig.Commands.
func (m *Meeting) Command(ctx context.Context, node uint32) (*CommandConn, error) {
	to, ok := m.m.client.ByID(node)
	if !ok {
		return nil, fmt.Errorf("node %d: %w", node, coordinator.ErrNoNode)
	}
	self := m.m.client.Self()
	s, err := m.m.open(ctx, transport.Header{Source: netip.AddrPortFrom(self.Addr, 0),
		Destination: netip.AddrPortFrom(to.Addr, 0)})
	var status *transport.StatusError
	if errors.As(err, &status) && status.Status == transport.StatusRefused {
		err = ErrNoCommands
	}
	if err != nil {
		return nil, fmt.Errorf("node %s: %w", to.Name, err)
	}
	return &CommandConn{ReadWriteCloser: &MeetingConn{s},
		Binding: binding(to.Key, self.Key)}, nil
}

// Local is a node of this user on this host.
type Local struct {
	ID          uint32
	Name        string
	Coordinator string // host and port of its coordinator
	PID         int    // of the program

	path string
}

// Locals returns the nodes of this user on this host.
func Locals() ([]Local, error) {
	var all []Local
	for _, dir := range coordinator.RuntimeDirs() {
		sockets, err := filepath.Glob(filepath.Join(dir, "*"+controlSuffix))
		if err != nil {
			return nil, err
		}
		for _, path := range sockets {
			c, who, err := dialControl(path, attachRequest{About: true})
			if err != nil {
				continue // it has just ended, or was left behind
			}
			c.Close()
			all = append(all, Local{who.ID, who.Name, who.Coordinator, who.PID, path})
		}
	}
	return all, nil
}

// Command connects to the node's supervisor.
func (l Local) Command() (*CommandConn, error) {
	c, who, err := dialControl(l.path, attachRequest{Command: true})
	switch {
	case err != nil:
		return nil, fmt.Errorf("node %s: %w", l.Name, err)
	case !who.Commands:
		c.Close()
		return nil, fmt.Errorf("node %s: %w", l.Name, ErrNoCommands)
	}
	return &CommandConn{ReadWriteCloser: c, Trusted: true}, nil
}

// dialControl connects to the control socket of a supervisor.
func dialControl(path string, q attachRequest) (c *net.UnixConn, who attachAnswer,
	err error) {
	c, err = net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, who, err
	}
	if peer, e := peerOf(c); e != nil || int(peer.Uid) != os.Geteuid() && peer.Uid != 0 {
		err = fmt.Errorf("control socket %s: another user's", path)
	} else {
		who, err = request(c, q)
	}
	if err != nil {
		c.Close()
		return nil, who, err
	}
	return c, who, nil
}
