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

// A supervisor listens on a Unix socket for its user, who may want to see what its
// program does: boxer trace --pid. The connection is a request in a line of JSON, then an
// answer in a line of JSON, then the events of the trace until one side closes it.

// An attachRequest asks for a trace.
type attachRequest struct {
	Header trace.Header `json:"-"`
	Bytes  int          // of payload
	FDs    bool
	Calls  []uintptr // by number

	About  bool `json:",omitempty"` // no trace: only the answer
	Status bool `json:",omitempty"` // no trace: the answer, then a statusAnswer
}

// An attachAnswer says what is traced.
type attachAnswer struct {
	Name, Program string
	PID           int
	Trapped       bool // network calls are trapped in full: it was started by boxer trace
}

// An attachServer lets traces attach to a node.
type attachServer struct {
	l    *net.UnixListener
	dir  string // of its socket
	node *node
	who  attachAnswer // complete when began is closed
	all  sync.WaitGroup

	began, ended chan struct{} // closed when the program runs, and by close

	mu    sync.Mutex
	conns map[*net.UnixConn]struct{} // nil: close has ended them
}

// serveAttach begins to listen. Without a directory for its socket there is none: the
// program runs all the same.
func (n *node) serveAttach(init int, who attachAnswer) *attachServer {
	dir, err := coordinator.RuntimeDir()
	if err != nil {
		n.member.log.Debug("no trace can attach", "err", err)
		return nil
	}
	path := filepath.Join(dir, controlName(init))
	os.Remove(path) // of a process that had our number
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if errors.Is(err, unix.ENOENT) {
		// Another supervisor has removed the empty directory at its end, just now.
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

// begin says that the program runs, as the process pid.
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

// keep notes a connection for close. It returns false after close has ended those that
// it knew.
func (s *attachServer) keep(c *net.UnixConn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conns == nil {
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

// close ends the traces that are attached: they get what they have not got yet.
func (s *attachServer) close() {
	if s == nil {
		return
	}
	close(s.ended)
	s.l.Close()       // removes the socket
	unix.Rmdir(s.dir) // if nothing else of this user's is there
	s.mu.Lock()
	for c := range s.conns {
		c.CloseRead()
	}
	s.conns = nil
	s.mu.Unlock()
	s.all.Wait()
}

// attachPatience bounds how long a request may take, and the rest of a trace.
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
	c.SetWriteDeadline(time.Now().Add(attachPatience)) // or close would wait for the peer
	if err := json.NewEncoder(c).Encode(s.who); err != nil {
		return fmt.Errorf("answer: %w", err)
	}
	c.SetWriteDeadline(time.Time{})
	switch {
	case q.About:
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
		io.Copy(io.Discard, c) // until the other side goes, or close
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

// peerOf returns the process on the other side (SO_PEERCRED, unix(7)).
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

// sameUser fails unless the other side is this process's user, or root.
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

// attach adds a subscriber to the node's recorder, which it begins if there is none. It
// returns nil when the node ends.
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

// detach takes it away, and ends the recorder with the last.
func (n *node) detach(r *recorder, t *subscriber) {
	n.recording.Lock()
	defer n.recording.Unlock()
	if n.ending {
		return // endTrace has told all
	}
	r.flush()
	if r.remove(t) == 0 {
		n.recorder.Store(nil)
		r.close()
	}
}

// ErrNotRunning means that no program under boxer is what a trace wants to attach to.
var ErrNotRunning = errors.New("this user runs no such node on this host")

// An Attached is a connection to a program that runs.
type Attached struct {
	c    *net.UnixConn
	Name string // the node's
	PID  int    // of the program
	// Process is the process that was asked for, 0 if that is the whole node.
	Process int
	// Trapped says that calls which boxer does not need are trapped: the filter was
	// made for a trace. Otherwise only those that boxer answers are seen.
	Trapped bool

	supervisor int // the process at the other end
}

// Attach asks for a trace of a program that runs under boxer as this user: of the node
// with a name, or of the process pid: the program's own or its supervisor's, which stand
// for the whole node, or another one of the node.
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
			// It was killed, or has bound the socket just now and does not listen yet.
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

// Read reads the trace, in JSON lines, until the program ends or Close.
func (a *Attached) Read(b []byte) (int, error) { return a.c.Read(b) }

// Detach asks for the end of the trace: Read has the rest of it, then io.EOF.
func (a *Attached) Detach() error { return a.c.CloseWrite() }

// Close ends the connection.
func (a *Attached) Close() error { return a.c.Close() }
