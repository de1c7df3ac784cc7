package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Each boxer run of a project has a socket (SOCK_SEQPACKET, unix(7)) whose other end is
// its supervisor's. boxer run says there when its program runs, and runs commands beside
// it: health checks, and what boxer exec asks for, whose descriptors come along.

// A Ready says which node an instance is.
type Ready struct {
	ID      uint32 `json:"id"`
	Name    string `json:"name"`
	Addr    string `json:"addr"`
	Program int    `json:"program"` // pid
}

// A Node is a program that runs as a node, as ServeAgent needs it.
type Node interface {
	Ready() Ready
	// Exec starts a command beside the program. It fails with *ExecError if the command
	// cannot be executed.
	Exec(ctx context.Context, c Command) (Execution, error)
}

// A Command says what to run in a node.
type Command struct {
	Argv     []string `json:"argv,omitempty"`
	Env      []string `json:"env,omitempty"` // NAME=value: added to the program's
	Dir      string   `json:"dir,omitempty"` // empty: the program's first one
	Terminal bool     `json:"terminal,omitempty"`

	Streams [3]*os.File `json:"-"` // nil: /dev/null
}

// An Execution is a command that runs.
type Execution interface {
	Wait() int // exit code
	Signal(sig unix.Signal) error
}

// An ExecError means that a command was not started, and has its exit code.
type ExecError struct {
	Code int
	Text string
}

func (e *ExecError) Error() string { return e.Text }

// An agentRequest asks for a command, or, without Argv, for a signal to one.
type agentRequest struct {
	ID int `json:"id"`
	Command
	Signal int `json:"signal,omitempty"`
}

// An agentReply says that the program runs, or that a command has ended.
type agentReply struct {
	Ready *Ready `json:"ready,omitempty"`
	ID    int    `json:"id,omitempty"`
	Code  int    `json:"code,omitempty"`
	Error string `json:"error,omitempty"` // it was not started
}

// maxPacket bounds a message, in bytes.
const maxPacket = 256 << 10

// packetConn is an end of the socket.
type packetConn struct{ *net.UnixConn }

func newPacketConn(f *os.File) (packetConn, error) {
	c, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return packetConn{}, err
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return packetConn{}, errors.New("not a Unix socket")
	}
	return packetConn{u}, nil
}

func (c packetConn) send(v any, files ...*os.File) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if len(b) > maxPacket {
		return fmt.Errorf("a message of %d bytes: the most is %d", len(b), maxPacket)
	}
	var fds []int
	for _, f := range files {
		fds = append(fds, int(f.Fd()))
	}
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	_, _, err = c.WriteMsgUnix(b, oob, nil)
	return err
}

// receive reads a message and the descriptors that have come along.
func (c packetConn) receive(v any) ([]*os.File, error) {
	b, oob := make([]byte, maxPacket), make([]byte, unix.CmsgSpace(4*3))
	n, oobn, _, _, err := c.ReadMsgUnix(b, oob)
	if err != nil {
		return nil, err
	}
	files := filesOf(oob[:oobn])
	if n == 0 {
		closeFiles(files)
		return nil, net.ErrClosed
	}
	return files, json.Unmarshal(b[:n], v)
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// An Agent serves the supervisor in boxer run.
type Agent struct {
	conn packetConn
	node Node
	done sync.WaitGroup

	mu      sync.Mutex
	running map[int]*agentCommand
}

// An agentCommand is a command that runs, or that is about to.
type agentCommand struct {
	started Execution     // nil: not yet
	early   []unix.Signal // that have come before it was started
}

// ServeAgent tells the supervisor that the node's program runs, and runs its commands
// until Close, or until the supervisor is gone. The Agent may be closed also after an
// error.
func ServeAgent(f *os.File, n Node) (*Agent, error) {
	conn, err := newPacketConn(f)
	if err != nil {
		return nil, err
	}
	a := &Agent{conn: conn, node: n, running: make(map[int]*agentCommand)}
	ready := n.Ready()
	if err := conn.send(agentReply{Ready: &ready}); err != nil {
		conn.Close()
		return nil, err
	}
	a.done.Go(a.serve)
	return a, nil
}

// Close ends the service. Commands have ended with the program.
func (a *Agent) Close() {
	if a != nil {
		a.conn.Close()
		a.done.Wait()
	}
}

func (a *Agent) serve() {
	for {
		var r agentRequest
		files, err := a.conn.receive(&r)
		if err != nil {
			closeFiles(files)
			a.conn.Close()
			return
		}
		if len(r.Argv) == 0 {
			a.signal(r.ID, unix.Signal(r.Signal))
			continue
		}
		copy(r.Streams[:], files)
		a.mu.Lock()
		a.running[r.ID] = &agentCommand{}
		a.mu.Unlock()
		a.done.Go(func() { a.run(r, files) })
	}
}

// signal sends a signal to a command, or remembers it until the command has started. The
// supervisor sends each signal once.
func (a *Agent) signal(id int, sig unix.Signal) {
	a.mu.Lock()
	c := a.running[id]
	var e Execution
	if c != nil {
		if e = c.started; e == nil {
			c.early = append(c.early, sig)
		}
	}
	a.mu.Unlock()
	if e != nil {
		_ = e.Signal(sig) // it may have ended
	}
}

// started gives a command the signals that have come before its start.
func (a *Agent) started(id int, e Execution) {
	a.mu.Lock()
	c := a.running[id]
	c.started = e
	early := c.early
	c.early = nil
	a.mu.Unlock()
	for _, sig := range early {
		_ = e.Signal(sig) // it may have ended
	}
}

// startTimeout bounds the start of a command.
const startTimeout = 30 * time.Second

func (a *Agent) run(r agentRequest, files []*os.File) {
	reply := agentReply{ID: r.ID}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	e, err := a.node.Exec(ctx, r.Command)
	cancel()
	closeFiles(files)
	if err != nil {
		reply.Code, reply.Error = exitBoxer, err.Error()
		if e, ok := errors.AsType[*ExecError](err); ok {
			reply.Code = e.Code
		}
	} else {
		a.started(r.ID, e)
		reply.Code = e.Wait()
	}
	a.mu.Lock()
	delete(a.running, r.ID)
	a.mu.Unlock()
	_ = a.conn.send(reply) // the supervisor may be gone
}
