package project

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The operations of a Request.
const (
	opUp      = "up"
	opState   = "state"
	opWait    = "wait"
	opStop    = "stop"
	opKill    = "kill"
	opRestart = "restart"
	opStart   = "start"
	opRemove  = "remove"
	opDown    = "down"
	opQuit    = "quit"
	opLogs    = "logs"
	opEvents  = "events"
	opExec    = "exec"
	opSignal  = "signal" // to the command of opExec, on the same connection
)

// A request is what a client asks for, one a connection. The plan of opUp is in a file
// whose descriptor comes along, as are the descriptors of the command of opExec.
type request struct {
	Op      string        `json:"op"`
	Names   []string      `json:"names,omitempty"` // services or instances
	Up      UpOptions     `json:"up,omitzero"`
	Timeout time.Duration `json:"timeout,omitempty"`
	Signal  int           `json:"signal,omitempty"`
	Log     LogFilter     `json:"log,omitzero"`
	Follow  bool          `json:"follow,omitempty"`
	Command Command       `json:"command,omitzero"`
}

// A reply is a part of an answer, whose last part has Done.
type reply struct {
	Instance *InstanceState `json:"instance,omitempty"`
	Line     *Line          `json:"line,omitempty"`
	Event    *Event         `json:"event,omitempty"`
	Message  string         `json:"message,omitempty"`

	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"`
	Code  int    `json:"code,omitempty"` // of opExec
}

// A server answers the clients of a supervisor.
type server struct {
	s     *Supervisor
	l     *net.UnixListener
	conns sync.WaitGroup
	end   context.CancelCauseFunc
}

// errDown and errQuit are why a supervisor ends.
var (
	errDown = errors.New("the project is removed")
	errQuit = errors.New("nothing runs any more")
)

// Serve is the supervisor of a project: it serves clients until one ends the project, or
// ctx ends, which ends the services as well. It calls ready when clients can connect. It
// fails with unix.EWOULDBLOCK if the project has a supervisor.
func Serve(ctx context.Context, cfg Config, ready func()) error {
	lock, err := cfg.Dir.lock()
	if err != nil {
		return fmt.Errorf("project %s: %w", cfg.Dir.Name, err)
	}
	defer lock.Close()
	s, err := newSupervisor(cfg)
	if err != nil {
		return err
	}
	path := cfg.Dir.file(controlFile)
	os.Remove(path) // of one that was killed
	l, err := net.ListenUnix("unixpacket", &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	v := &server{s: s, l: l, end: end}
	v.conns.Go(func() { v.accept(ctx) })
	ready()
	<-ctx.Done()
	l.Close()
	s.close()
	v.conns.Wait()
	if errors.Is(context.Cause(ctx), errDown) {
		return cfg.Dir.remove()
	}
	return nil
}

// acceptPause follows an accept that has failed.
const acceptPause = 50 * time.Millisecond

func (v *server) accept(ctx context.Context) {
	for {
		c, err := v.l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		v.conns.Go(func() {
			defer c.Close()
			v.serve(ctx, packetConn{c})
		})
	}
}

// goodbye bounds how long the end of a supervisor waits for a client that does not read,
// or has asked for nothing yet.
const goodbye = 2 * time.Second

// serve answers one client.
func (v *server) serve(ctx context.Context, c packetConn) {
	bound := func() { _ = c.SetDeadline(time.Now().Add(goodbye)) }
	defer context.AfterFunc(ctx, bound)()
	ends := ctx
	var r request
	files, err := c.receive(&r)
	defer closeFiles(files)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	signals := make(chan unix.Signal, 16)
	gone := make(chan struct{})
	go func() { // until the client is gone, or the connection is closed
		defer close(gone)
		defer cancel()
		for {
			var more request
			files, err := c.receive(&more)
			closeFiles(files)
			if err != nil {
				return
			}
			if more.Op == opSignal {
				select {
				case signals <- unix.Signal(more.Signal):
				default:
				}
			}
		}
	}()
	done := reply{Done: true}
	done.Code, err = v.answer(ctx, c, r, files, signals)
	if err != nil {
		done.Error = err.Error()
	}
	if ends.Err() != nil { // the deadline may have passed while the answer was made
		bound()
	}
	_ = c.send(done)
	if r.Op == opDown && err == nil && len(r.Names) == 0 {
		v.end(errDown)
	}
	c.CloseRead()
	<-gone
}

// answer does what a client asks for. The code is that of opExec.
func (v *server) answer(ctx context.Context, c packetConn, r request, files []*os.File,
	signals <-chan unix.Signal) (code int, err error) {
	s := v.s
	switch r.Op {
	case opUp:
		return 0, v.up(ctx, c, r, files)
	case opState:
		for _, i := range s.State().Instances {
			if err := c.send(reply{Instance: &i}); err != nil {
				return 0, err
			}
		}
		return 0, s.check(r.Names)
	case opWait:
		return 0, s.Wait(ctx, r.Names)
	case opStop:
		return 0, s.Stop(r.Names, r.Timeout)
	case opKill:
		return 0, s.Kill(r.Names, unix.Signal(r.Signal))
	case opRestart, opStart:
		return 0, s.Restart(ctx, r.Names, r.Timeout, r.Op == opStart)
	case opRemove, opDown:
		return 0, s.Remove(r.Names, r.Timeout)
	case opQuit:
		return 0, v.quit()
	case opLogs:
		return 0, s.follow(ctx, r, func(l Line) error { return c.send(reply{Line: &l}) })
	case opEvents:
		return 0, v.events(ctx, c)
	case opExec:
		return s.exec(ctx, r, files, signals)
	}
	return 0, fmt.Errorf("unknown operation %q: the supervisor is of another release of boxer; boxer down and boxer up replace it", r.Op)
}

// up is Supervisor.Up. With Follow, it passes on what the instances write, and waits
// until they have ended for good.
func (v *server) up(ctx context.Context, c packetConn, r request,
	files []*os.File) (err error) {
	if len(files) != 1 {
		return errors.New("the plan is missing")
	}
	var p Plan
	if err := json.NewDecoder(io.NewSectionReader(files[0], 0, maxPlan)).Decode(&p); err != nil {
		return fmt.Errorf("plan: %w", err)
	}
	tell := func(text string) { _ = c.send(reply{Message: text}) }
	if !r.Follow {
		return v.s.Up(ctx, p, r.Up, tell)
	}
	lines, end := context.WithCancel(ctx)
	followed := make(chan error, 1)
	go func() {
		followed <- v.s.lines.follow(lines, r.Log,
			func(l Line) error { return c.send(reply{Line: &l}) })
	}()
	defer func() {
		end()
		err = errors.Join(err, <-followed)
	}()
	if err := v.s.Up(ctx, p, r.Up, tell); err != nil {
		return err
	}
	tell(UpMessage)
	return v.s.awaitEnd(ctx, r.Up.Services)
}

// UpMessage is told when all programs have started.
const UpMessage = "started"

// awaitEnd waits until the instances of services have ended for good.
func (s *Supervisor) awaitEnd(ctx context.Context, names []string) error {
	return s.await(ctx, func() bool {
		for _, i := range s.ofLocked(names...) {
			if i.active() {
				return false
			}
		}
		return true
	})
}

// maxPlan bounds a plan, in bytes.
const maxPlan = 256 << 20

// quit ends the supervisor if nothing runs.
func (v *server) quit() error {
	for _, i := range v.s.State().Instances {
		if i.active() {
			return fmt.Errorf("%s runs", i.Name)
		}
	}
	v.end(errQuit)
	return nil
}

// follow passes on the lines of instances until ctx ends, and without Follow those that
// are there. With services that have ended for good, it ends with their last lines.
func (s *Supervisor) follow(ctx context.Context, r request, each func(Line) error) error {
	if err := s.check(r.Log.Instances); err != nil {
		return err
	}
	if !r.Follow {
		return s.cfg.Dir.ReadLog(r.Log, each)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_ = s.awaitEnd(ctx, r.Log.Instances)
	}()
	return s.lines.follow(ctx, r.Log, each)
}

func (v *server) events(ctx context.Context, c packetConn) error {
	events, end := v.s.events.subscribe()
	defer end()
	if err := c.send(reply{Message: "watching"}); err != nil {
		return err
	}
	for {
		select {
		case e := <-events:
			if err := c.send(reply{Event: &e}); err != nil {
				return err
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// exec runs a command in the node of an instance.
func (s *Supervisor) exec(ctx context.Context, r request, files []*os.File,
	signals <-chan unix.Signal) (int, error) {
	if err := s.check(r.Names); err != nil {
		return exitBoxer, err
	}
	some := s.of(r.Names...)
	if len(some) == 0 || len(files) != 3 {
		return exitBoxer, errNotRunning
	}
	i := some[0]
	s.mu.Lock()
	p := i.proc
	s.mu.Unlock()
	if p == nil {
		return exitBoxer, fmt.Errorf("%s: %w", i.Name, errNotRunning)
	}
	if i.svc.elsewhere() {
		return exitBoxer, fmt.Errorf("%s runs on %s: use boxer exec with its node's name",
			i.Name, i.svc.Host)
	}
	copy(r.Command.Streams[:], files)
	code, err := p.exec(ctx, r.Command, signals)
	if err != nil {
		err = fmt.Errorf("%s: %w", i.Name, err)
	}
	return code, err
}
