package launcher

import (
	"context"
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/linux"
)

// An ExecConfig says what to run in a node beside its program.
type ExecConfig struct {
	Argv []string
	Env  []string // NAME=value: added to the environment of the node's program
	Dir  string   // working directory; empty: that in which the program was started

	// Stdin, Stdout and Stderr are the command's; nil: /dev/null. They stay the caller's
	// to close, and may be closed once Exec has returned.
	Stdin, Stdout, Stderr *os.File

	// Terminal makes Stdin the controlling terminal of the command. The command has a
	// session of its own in any case.
	Terminal bool
}

// An Execution is a command that runs in a node beside its program. It ends with the
// program at the latest.
type Execution struct {
	p   *Program
	id  int
	pid int

	done chan struct{} // closed when code is there
	code int
}

// PID returns the command's process number.
func (e *Execution) PID() int { return e.pid }

// Wait waits until the command has ended, and returns its exit code: 128+N if signal N
// has ended it.
func (e *Execution) Wait() int {
	<-e.done
	return e.code
}

// Done returns a channel that is closed when Wait does not wait any more.
func (e *Execution) Done() <-chan struct{} { return e.done }

// Signal sends a signal to the command's process group. It fails with
// [os.ErrProcessDone] if the command has ended.
func (e *Execution) Signal(sig unix.Signal) error {
	select {
	case <-e.done:
		return os.ErrProcessDone
	default:
	}
	if !e.p.c.tell(initCommand{Exec: &execRequest{ID: e.id, Signal: int(sig)}}) {
		return os.ErrProcessDone
	}
	return nil
}

// Exec starts a command that is a part of the node, as the program's own children are. It
// fails with *ExitError if the command cannot be executed, and with [os.ErrProcessDone]
// if the program has ended. The end of ctx ends only the wait for the start.
func (p *Program) Exec(ctx context.Context, cfg ExecConfig) (*Execution, error) {
	if len(cfg.Argv) == 0 {
		return nil, errors.New("exec: no command")
	}
	// The caller may close its streams when Exec returns, and they may not be passed on
	// yet if that is because of ctx.
	files, err := duplicates(cfg.Stdin, cfg.Stdout, cfg.Stderr)
	if err != nil {
		return nil, err
	}
	e := &Execution{p: p, id: p.c.executions.number(), done: make(chan struct{})}
	s := &starting{Execution: e, files: files, heard: make(chan error, 1),
		request: execRequest{ID: e.id, Argv: cfg.Argv, Env: cfg.Env, Dir: cfg.Dir,
			Terminal: cfg.Terminal}}
	started := make(chan error, 1)
	go func() { // ends with the tree at the latest
		err := p.n.interposer.Exec(p.c, s)
		closeFiles(files)
		if err != nil {
			p.c.executions.remove(e.id)
		}
		started <- err
	}()
	select {
	case err := <-started:
		if err != nil {
			return nil, err
		}
		return e, nil
	case <-ctx.Done():
		go func() { // it may start all the same
			if <-started == nil {
				_ = e.Signal(unix.SIGKILL)
			}
		}()
		return nil, context.Cause(ctx)
	}
}

// duplicates returns duplicates of files. That of nil is /dev/null.
func duplicates(files ...*os.File) (all []*os.File, err error) {
	for _, f := range files {
		var d *os.File
		if f == nil {
			d, err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
		} else {
			d, err = linux.Duplicate(f)
		}
		if err != nil {
			closeFiles(all)
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// An execRequest tells boxer-init to run a command, or, without Argv, to signal one.
type execRequest struct {
	ID       int
	Argv     []string `json:",omitempty"`
	Env      []string `json:",omitempty"`
	Dir      string   `json:",omitempty"`
	Terminal bool     `json:",omitempty"`
	Signal   int      `json:",omitempty"`
}

// executions are the commands that run in a node, as its supervisor sees them.
type executions struct {
	mu    sync.Mutex
	last  int
	ended bool // the program has
	byID  map[int]*starting
}

// A starting is a command that is about to run, or runs.
type starting struct {
	*Execution
	request execRequest
	files   []*os.File // the three streams, and what the Interposer adds

	listen func(*os.File) error // called with the filter's listener; nil: there is none
	heard  chan error           // gets why it has not started, or nil
}

// number returns the number of the next command.
func (all *executions) number() int {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.last++
	return all.last
}

// add has the events of a command go to it. It returns false if the program has ended.
func (all *executions) add(s *starting) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.byID == nil {
		all.byID = make(map[int]*starting)
	}
	if !all.ended {
		all.byID[s.id] = s
	}
	return !all.ended
}

// remove forgets a command that has not started.
func (all *executions) remove(id int) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.byID, id)
}

// exec has boxer-init run a command, and waits until it runs.
func (c *child) exec(s *starting) error {
	fds := make([]int, len(s.files))
	for i, f := range s.files {
		fds[i] = int(f.Fd())
	}
	if !c.executions.add(s) || !c.tell(initCommand{Exec: &s.request}, fds...) {
		return os.ErrProcessDone
	}
	return <-s.heard // at the latest when the program ends
}

// event does what an event of boxer-init says about a command. f came along.
func (all *executions) event(r *execEvent, f *os.File) {
	all.mu.Lock()
	s := all.byID[r.ID]
	if s != nil && (r.Exited || r.Failed != "") {
		delete(all.byID, r.ID)
	}
	all.mu.Unlock()
	switch {
	case s == nil:
		f.Close()
	case f != nil:
		if err := s.listen(f); err != nil {
			s.heard <- err
			_ = s.Signal(unix.SIGKILL) // nobody answers its calls
		}
	}
	if s == nil {
		return
	}
	switch {
	case r.Failed != "":
		s.heard <- &ExitError{Code: r.Code, Err: errors.New(r.Failed)}
	case r.Started > 0:
		s.pid = r.Started
		select {
		case s.heard <- nil:
		default: // it has failed
		}
	case r.Exited:
		s.code = r.Code
		close(s.done)
	}
}

// end says that the program has ended, and with it all commands.
func (all *executions) end() {
	all.mu.Lock()
	defer all.mu.Unlock()
	all.ended = true
	for _, s := range all.byID {
		s.code = exitSignal + int(unix.SIGKILL)
		select {
		case s.heard <- os.ErrProcessDone:
		default: // it runs
		}
		close(s.done)
	}
	all.byID = nil
}

// An execEvent tells the supervisor what has happened to a command.
type execEvent struct {
	ID      int
	Started int    `json:",omitempty"` // its pid; the listener may come along
	Failed  string `json:",omitempty"` // it did not start, and why
	Exited  bool   `json:",omitempty"`
	Code    int    `json:",omitempty"` // with Failed and Exited: the exit code
}
