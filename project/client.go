package project

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A Client talks with the supervisor of a project. Each method has a connection of its
// own. The end of its context ends the wait, and not what was asked for.
type Client struct{ dir Dir }

// ErrNotRunning means that a project has no supervisor: nothing of it runs.
var ErrNotRunning = errors.New("it does not run; boxer up starts it")

// ErrEnded means that the supervisor has ended before it has answered.
var ErrEnded = errors.New("its supervisor has ended")

// Connect returns a client of a project. It fails with ErrNotRunning without a
// supervisor.
func Connect(d Dir) (*Client, error) {
	if !d.Runs() {
		return nil, fmt.Errorf("project %s: %w", d.Name, ErrNotRunning)
	}
	return &Client{d}, nil
}

// SupervisorCommand is the command of boxer that calls Serve: its arguments are the
// directory of the project and its name.
const SupervisorCommand = "project-supervisor"

// Start returns a client of a project, whose supervisor it starts if there is none: a
// process of the program boxer, in a session of its own.
func Start(d Dir, boxer string) (*Client, error) {
	for range 2 { // the second time another process has started it meanwhile
		if d.Runs() {
			if err := awaitSocket(d); err != nil {
				return nil, err
			}
			return &Client{d}, nil
		}
		if err := spawnSupervisor(d, boxer); err == nil {
			return &Client{d}, nil
		} else if !d.Runs() {
			return nil, err
		}
	}
	return nil, fmt.Errorf("project %s: its supervisor does not start; see %s", d.Name,
		d.Log())
}

// startPatience bounds the start of a supervisor, which first ends what another one has
// left.
const startPatience = 3 * DefaultGrace

func spawnSupervisor(d Dir, boxer string) error {
	log, err := os.OpenFile(d.Log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	defer r.Close()
	cmd := exec.Command(boxer, SupervisorCommand, d.Path, d.Name)
	cmd.Args[0], cmd.Dir, cmd.Stderr, cmd.ExtraFiles = "boxer", "/", log, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return err
	}
	go func() { _ = cmd.Wait() }() // nobody's business; until this process ends
	_ = r.SetReadDeadline(time.Now().Add(startPatience))
	line, err := bufio.NewReader(r).ReadString('\n')
	switch line = strings.TrimSpace(line); {
	case line == ReadyLine:
		return nil
	case line != "":
		return fmt.Errorf("project %s: %s", d.Name, line)
	}
	return fmt.Errorf("project %s: its supervisor has not started (%w); see %s", d.Name, err,
		d.Log())
}

// ReadyLine is what a supervisor writes to descriptor 3 when clients can connect. Another
// line is why they cannot.
const ReadyLine = "ready"

// awaitSocket waits until a supervisor that has the lock listens.
func awaitSocket(d Dir) error {
	for end := time.Now().Add(startPatience); ; time.Sleep(coordinatorPoll) {
		c, err := net.Dial("unixpacket", d.file(controlFile))
		if err == nil {
			return c.Close()
		}
		if time.Now().After(end) || !d.Runs() {
			return fmt.Errorf("project %s: its supervisor does not answer: %w", d.Name, err)
		}
	}
}

// ask sends a request and calls each for the parts of the answer, but the last.
func (c *Client) ask(ctx context.Context, r request, files []*os.File,
	each func(packetConn, reply) error) (code int, err error) {
	conn, err := net.DialUnix("unixpacket", nil,
		&net.UnixAddr{Name: c.dir.file(controlFile), Net: "unixpacket"})
	if err != nil {
		return exitBoxer, fmt.Errorf("project %s: %w", c.dir.Name, ErrNotRunning)
	}
	defer conn.Close()
	p := packetConn{conn}
	if err := p.send(r, files...); err != nil {
		return exitBoxer, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for {
		var part reply
		got, err := p.receive(&part)
		closeFiles(got)
		switch {
		case err != nil && ctx.Err() != nil:
			return exitBoxer, context.Cause(ctx)
		case err != nil:
			return exitBoxer, fmt.Errorf("project %s: %w; see %s", c.dir.Name, ErrEnded,
				c.dir.Log())
		case part.Done && part.Error != "":
			return part.Code, errors.New(part.Error)
		case part.Done:
			return part.Code, nil
		case each == nil:
		default:
			if err := each(p, part); err != nil {
				return exitBoxer, err
			}
		}
	}
}

// Up is Supervisor.Up. With follow, each is called for the lines that the instances
// write, and Up returns when they have all ended for good.
func (c *Client) Up(ctx context.Context, p Plan, o UpOptions, follow *LogFilter,
	tell func(string), each func(Line) error) error {
	// A plan may be larger than a message.
	fd, err := unix.MemfdCreate("plan", unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "plan")
	defer f.Close()
	if err := json.NewEncoder(f).Encode(p); err != nil {
		return err
	}
	r := request{Op: opUp, Up: o, Follow: follow != nil}
	if follow != nil {
		r.Log = *follow
	}
	_, err = c.ask(ctx, r, []*os.File{f}, func(_ packetConn, r reply) error {
		if r.Message != "" {
			tell(r.Message)
		}
		if r.Line != nil {
			return each(*r.Line)
		}
		return nil
	})
	return err
}

// Stop is Supervisor.Stop.
func (c *Client) Stop(ctx context.Context, names []string, timeout time.Duration) error {
	_, err := c.ask(ctx, request{Op: opStop, Names: names, Timeout: timeout}, nil, nil)
	return err
}

// Kill is Supervisor.Kill.
func (c *Client) Kill(ctx context.Context, names []string, sig unix.Signal) error {
	_, err := c.ask(ctx, request{Op: opKill, Names: names, Signal: int(sig)}, nil, nil)
	return err
}

// Restart is Supervisor.Restart.
func (c *Client) Restart(ctx context.Context, names []string,
	timeout time.Duration) error {
	_, err := c.ask(ctx, request{Op: opRestart, Names: names, Timeout: timeout}, nil, nil)
	return err
}

// StartStopped starts what does not run.
func (c *Client) StartStopped(ctx context.Context, names []string) error {
	_, err := c.ask(ctx, request{Op: opStart, Names: names}, nil, nil)
	return err
}

// Wait is Supervisor.Wait.
func (c *Client) Wait(ctx context.Context, names []string) error {
	_, err := c.ask(ctx, request{Op: opWait, Names: names}, nil, nil)
	return err
}

// Down stops services and removes them, without names the whole project.
func (c *Client) Down(ctx context.Context, names []string, timeout time.Duration) error {
	_, err := c.ask(ctx, request{Op: opDown, Names: names, Timeout: timeout}, nil, nil)
	if err != nil || len(names) > 0 {
		return err
	}
	for { // until its files are gone
		if _, err := os.Stat(c.dir.Path); err != nil {
			return nil
		}
		select {
		case <-time.After(coordinatorPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Quit ends the supervisor if nothing runs. What it knows stays in the directory.
func (c *Client) Quit(ctx context.Context) error {
	if _, err := c.ask(ctx, request{Op: opQuit}, nil, nil); err != nil {
		return err
	}
	for c.dir.Runs() {
		select {
		case <-time.After(coordinatorPoll):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// State returns the instances of the services, of all without names.
func (c *Client) State(ctx context.Context, names []string) (some []InstanceState,
	err error) {
	_, err = c.ask(ctx, request{Op: opState, Names: names}, nil,
		func(_ packetConn, r reply) error {
			if i := r.Instance; i != nil && (len(names) == 0 || matches(names, i.Name)) {
				some = append(some, *i)
			}
			return nil
		})
	return some, err
}

// Logs calls each for the lines of instances. With follow it goes on until they have all
// ended.
func (c *Client) Logs(ctx context.Context, f LogFilter, follow bool,
	each func(Line) error) error {
	_, err := c.ask(ctx, request{Op: opLogs, Log: f, Follow: follow}, nil,
		func(_ packetConn, r reply) error {
			if r.Line != nil {
				return each(*r.Line)
			}
			return nil
		})
	return err
}

// Events calls each for what happens, until ctx ends.
func (c *Client) Events(ctx context.Context, each func(Event) error) error {
	return c.Watch(ctx, func() {}, each)
}

// Watch is Events. It calls began when nothing that happens from then on is missed.
func (c *Client) Watch(ctx context.Context, began func(), each func(Event) error) error {
	_, err := c.ask(ctx, request{Op: opEvents}, nil, func(_ packetConn, r reply) error {
		switch {
		case r.Event != nil:
			return each(*r.Event)
		case r.Message != "":
			began()
		}
		return nil
	})
	return err
}

// Exec runs a command in the node of a service's first instance, or of an instance, with
// the streams of the command, all of which are set. Signals are passed on to it.
func (c *Client) Exec(ctx context.Context, name string, command Command,
	signals <-chan os.Signal) (int, error) {
	conn, err := net.DialUnix("unixpacket", nil,
		&net.UnixAddr{Name: c.dir.file(controlFile), Net: "unixpacket"})
	if err != nil {
		return exitBoxer, fmt.Errorf("project %s: %w", c.dir.Name, ErrNotRunning)
	}
	defer conn.Close()
	p := packetConn{conn}
	err = p.send(request{Op: opExec, Names: []string{name}, Command: command},
		command.Streams[:]...)
	if err != nil {
		return exitBoxer, err
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		for {
			select {
			case sig := <-signals:
				if sig, ok := sig.(unix.Signal); ok {
					_ = p.send(request{Op: opSignal, Signal: int(sig)})
				}
			case <-ended:
				return
			}
		}
	}()
	var r reply
	if _, err := p.receive(&r); err != nil {
		return exitBoxer, fmt.Errorf("project %s: its supervisor has ended", c.dir.Name)
	}
	if r.Error != "" {
		return r.Code, errors.New(r.Error)
	}
	return r.Code, nil
}

// States returns what is known of a project, whether it runs or not. What a supervisor
// that was killed has left counts as running.
func States(ctx context.Context, d Dir) ([]InstanceState, error) {
	if c, err := Connect(d); err == nil {
		if all, err := c.State(ctx, nil); !errors.Is(err, ErrNotRunning) {
			return all, err
		}
	}
	st, err := d.readState()
	for n := range st.Instances {
		if i := &st.Instances[n]; i.active() &&
			(i.PID == 0 || startTime(i.PID) != i.Began) {
			i.State, i.Error = Exited, "the project's supervisor was killed"
			i.ExitCode = 128 + int(unix.SIGKILL)
		}
	}
	return st.Instances, err
}

// Remove ends what a supervisor that was killed has left, and removes the directory of a
// project that has no supervisor.
func Remove(d Dir, grace time.Duration) error {
	lock, err := d.lock()
	for end := time.Now().Add(startPatience); errors.Is(err, unix.EWOULDBLOCK) &&
		time.Now().Before(end); lock, err = d.lock() {
		time.Sleep(coordinatorPoll) // it was killed just now
	}
	if err != nil {
		return fmt.Errorf("project %s: %w", d.Name, err)
	}
	defer lock.Close()
	if grace == 0 {
		grace = DefaultGrace
	}
	return errors.Join(d.endLeftovers(grace), d.remove())
}
