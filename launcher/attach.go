package launcher

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/trace"
)

// A supervisor listens on a Unix socket (a control socket) for its user, who may want to
// see what the program does: boxer trace --pid. A client sends a request as one line of
// JSON. The supervisor answers with one line of JSON, then with the events of the trace
// until one side closes the connection.

// An attachRequest asks for a trace.
type attachRequest struct {
	Header trace.Header `json:"-"`
	Bytes  int          // of payload that the trace keeps
	FDs    bool
	Calls  []uintptr // by number

	About  bool `json:",omitempty"` // no trace: only the answer
	Status bool `json:",omitempty"` // no trace: the answer, then a statusAnswer

	Command bool `json:",omitempty"` // no trace: a CommandConn follows the answer
}

// An attachAnswer describes the node that is traced.
type attachAnswer struct {
	Name, Program string
	PID           int
	ID            uint32 // of the node
	Coordinator   string // host and port
	Commands      bool   // the node takes them

	Trapped bool // all network calls are trapped: boxer trace started the node
}

// An attachServer lets traces attach to a node.
type attachServer struct {
	l    *net.UnixListener
	dir  string // directory of the socket
	node *node
	who  attachAnswer // complete when began is closed
	all  sync.WaitGroup

	began, ended chan struct{} // closed when the program runs; closed by close

	mu    sync.Mutex
	conns map[*net.UnixConn]struct{} // open connections; nil after close
}

// serveAttach listens on the control socket. If it cannot make the socket, the program
// runs without one.
func (n *node) serveAttach(init int, who attachAnswer) *attachServer {
	dir, err := coordinator.RuntimeDir()
	if err != nil {
		n.member.log.Debug("no trace can attach", "err", err)
		return nil
	}
	path := filepath.Join(dir, controlName(init))
	os.Remove(path) // of an earlier process with the same pid
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, unix.ENOENT) {
		// Another supervisor may have removed the empty directory just now, at its end.
		if _, err = coordinator.RuntimeDir(); err == nil {
			l, err = net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		}
	}
	if err != nil {
		n.member.log.Debug("no trace can attach", "err", err)
		return nil
	}
	s := &attachServer{l: l, dir: dir, node: n, who: who,
		conns: make(map[*net.UnixConn]struct{}),
		began: make(chan struct{}), ended: make(chan struct{})}
	s.all.Go(s.accept)
	return s
}

// begin stores that the program runs, and its pid.
func (s *attachServer) begin(pid int) {
	if s != nil {
		s.who.PID = pid
		close(s.began)
	}
}

func (s *attachServer) accept() {
	for {
		c, err := s.l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause)
			continue
		}
		if !s.keep(c) {
			c.Close()
			return
		}
		s.all.Go(func() {
			defer c.Close()
			if err := s.serve(c); err != nil {
				s.node.member.log.Debug("attached trace", "err", err)
			}
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
		})
	}
}

// keep records a connection, so that close ends it. It returns false after close.
func (s *attachServer) keep(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// close ends the attached traces. They receive what was recorded so far.
func (s *attachServer) close() {
	if s == nil {
		return
	}
	close(s.ended)
	s.l.Close()       // removes the socket
	unix.Rmdir(s.dir) // fails if the user has other control sockets there
	s.mu.Lock()
	for c := range s.conns {
		c.CloseRead()
	}
	s.conns = nil
	s.mu.Unlock()
	s.all.Wait()
}

// attachPatience bounds how long a client may take to send its request, and to read the
// rest of a trace.
const attachPatience = 5 * time.Second

func (s *attachServer) serve(c *net.UnixConn) error {
	if err := sameUser(c); err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(attachPatience))
	var q attachRequest
	in := json.NewDecoder(io.LimitReader(c, maxMessage))
	if err := in.Decode(&q); err != nil {
		return fmt.Errorf("request: %w", err)
	}
	c.SetReadDeadline(time.Time{})
	select {
	case <-s.began:
	case <-s.ended:
		return errors.New("the program was not started")
	}
	c.SetWriteDeadline(time.Now().Add(attachPatience)) // close waits for this goroutine
	if err := json.NewEncoder(c).Encode(s.who); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	c.SetWriteDeadline(time.Time{})
	switch {
	case q.About:
		return nil
	case q.Command:
		if p := s.node.program.Load(); p != nil {
			p.commands.run(p, &CommandConn{ReadWriteCloser: c, Trusted: true})
		}
		return nil
	case q.Status:
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s.all.Go(func() {
			select {
			case <-s.ended:
				cancel()
			case <-ctx.Done():
			}
		})
		return s.node.tellStatus(ctx, c)
	}
	sink := trace.NewSink(keptOpen{c}, 0)
	t := &subscriber{sink: sink, bytes: max(0, min(q.Bytes, maxAttachBytes)), fds: q.FDs,
		shown: q.Calls}
	r := s.node.attach(t, trace.Header{Program: s.who.Program, Sets: []string{"attached"}})
	if r == nil {
		sink.Close(attachPatience)
		return errors.New("the program has ended")
	}
	ended := make(chan struct{})
	go func() {
		io.Copy(io.Discard, c) // until the client or close ends the connection
		close(ended)
	}()
	select {
	case <-ended:
	case <-sink.Done():
	}
	s.node.detach(r, t)
	c.SetWriteDeadline(time.Now().Add(attachPatience))
	err := sink.Close(attachPatience)
	c.CloseRead() // ends the goroutine
	<-ended
	return err
}

// maxAttachBytes bounds the payload that an attached trace may ask for, in bytes.
const maxAttachBytes = 1 << 20

// keptOpen is a writer that its Sink does not close.
type keptOpen struct{ io.Writer }

func (keptOpen) Close() error { return nil }

// peerOf returns the credentials of the process at the other end (SO_PEERCRED, unix(7)).
func peerOf(c *net.UnixConn) (cred *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	if e := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); e != nil {
		return nil, e
	}
	return cred, err
}

// sameUser fails unless the process at the other end runs as this process's user or as
// root.
func sameUser(c *net.UnixConn) error {
	cred, err := peerOf(c)
	if err != nil {
		return err
	}
	if int(cred.Uid) != os.Getuid() && cred.Uid != 0 {
		return fmt.Errorf("user %d may not trace a program of user %d", cred.Uid,
			os.Getuid())
	}
	return nil
}

// attach adds a subscriber to the node's recorder, and starts the recorder if there is
// none. It returns nil when the node ends.
func (n *node) attach(t *subscriber, h trace.Header) *recorder {
	n.recording.Lock()
	defer n.recording.Unlock()
	if n.ending {
		return nil
	}
	r := n.recorder.Load()
	if r == nil {
		r = newRecorder(n.member, n.calls)
		r.knowProcesses()
		n.recorder.Store(r)
	}
	r.add(t, h)
	return r
}

// detach removes a subscriber. With the last one it ends the recorder.
func (n *node) detach(r *recorder, t *subscriber) {
	n.recording.Lock()
	defer n.recording.Unlock()
	if n.ending {
		return // endTrace has ended all traces
	}
	r.flush()
	if r.remove(t) == 0 {
		n.recorder.Store(nil)
		r.close()
	}
}

// ErrNotRunning means that this user runs no node that matches the request.
var ErrNotRunning = errors.New("this user runs no such node on this host")

// An Attached is a connection to the supervisor of a program that runs.
type Attached struct {
	c    *net.UnixConn
	Name string // the node's
	PID  int    // of the program
	// Process is the process that was asked for; 0 means the whole node.
	Process int
	// Trapped says that the filter was made for a trace, so all calls can be shown.
	// Otherwise only the calls that boxer answers can be.
	Trapped bool

	supervisor int // pid of the process at the other end
}

// Attach asks for a trace of a program that this user runs under boxer. name selects a
// node. pid selects a process: that of the program itself or of its supervisor selects
// the whole node, another one selects only that process.
func Attach(name string, pid int, t Trace) (*Attached, error) {
	dir, err := coordinator.RuntimeDir()
	if err != nil {
		return nil, err
	}
	sockets, err := filepath.Glob(filepath.Join(dir, "*"+controlSuffix))
	if err != nil {
		return nil, err
	}
	what := "node " + strconv.Quote(name)
	var ancestors []int
	if name == "" {
		what = "process " + strconv.Itoa(pid)
		ancestors = ancestorsOf(pid)
	}
	var found []*Attached
	for _, path := range sockets {
		init, _ := strconv.Atoi(strings.TrimSuffix(filepath.Base(path), controlSuffix))
		a, err := attachTo(path, t)
		if errors.Is(err, unix.ECONNREFUSED) {
			// The supervisor was killed, or it has just bound the socket and does not
			// listen yet.
			if errors.Is(unix.Kill(init, 0), unix.ESRCH) {
				os.Remove(path)
			}
			continue
		}
		if err != nil {
			continue
		}
		switch {
		case name != "" && a.Name == name, name == "" &&
			(pid == a.PID || pid == a.supervisor || pid == init):
			found = append(found, a)
			continue
		case name == "" && slices.Contains(ancestors, init):
			a.Process = pid
			found = append(found, a)
			continue
		}
		a.Close()
	}
	switch len(found) {
	case 0:
		return nil, fmt.Errorf("attach to %s: %w", what, ErrNotRunning)
	case 1:
		return found[0], nil
	}
	var pids []string
	for _, a := range found {
		pids = append(pids, strconv.Itoa(a.PID))
		a.Close()
	}
	return nil, fmt.Errorf("attach to %s: several nodes have that name; use --pid with one of %s", what, strings.Join(pids, ", "))
}

// ancestorsOf returns the parent of a process, that one's parent, and so on.
func ancestorsOf(pid int) (all []int) {
	for pid > 1 {
		t, err := lookThread(pid)
		if err != nil || slices.Contains(all, t.parent) {
			break
		}
		pid = t.parent
		all = append(all, pid)
	}
	return all
}

func attachTo(path string, t Trace) (*Attached, error) {
	c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, err
	}
	who, err := request(c, attachRequest{Bytes: t.Bytes, FDs: t.FDs, Calls: t.Select.Calls})
	if err != nil {
		c.Close()
		return nil, err
	}
	a := &Attached{c: c, Name: who.Name, PID: who.PID, Trapped: who.Trapped}
	if peer, err := peerOf(c); err == nil {
		a.supervisor = int(peer.Pid)
	}
	return a, nil
}

// readLine reads one line of JSON and not a byte more.
func readLine(r io.Reader, v any) error {
	var line []byte
	var b [1]byte
	for len(line) < maxMessage {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return err
		}
		if b[0] == '\n' {
			return json.Unmarshal(line, v)
		}
		line = append(line, b[0])
	}
	return errors.New("control: message too large")
}

// Read reads the trace, in JSON lines, until the program ends or Close is called.
func (a *Attached) Read(b []byte) (int, error) { return a.c.Read(b) }

// Detach asks the supervisor to end the trace. Read returns the rest of it, then io.EOF.
func (a *Attached) Detach() error { return a.c.CloseWrite() }

// Close ends the connection.
func (a *Attached) Close() error { return a.c.Close() }
