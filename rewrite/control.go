package rewrite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"os"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// acceptControl serves a control socket until it is closed.
func (s *Server) acceptControl(l *net.UnixListener) {
	for {
		c, err := l.AcceptUnix()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			s.cfg.Logger.Error("control socket", "err", err)
			continue
		}
		s.mu.Lock()
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.tasks.Go(func() {
			s.control(c)
			s.mu.Lock()
			delete(s.conns, c)
			s.mu.Unlock()
			c.Close()
		})
	}
}

// A conversation is one connection of the control socket.
type conversation struct {
	c        *net.UnixConn
	pid      int // the process at the other end
	uid, gid uint32
}

// control serves one connection.
func (s *Server) control(c *net.UnixConn) {
	v := conversation{c: c}
	who, err := s.peer(c)
	if err != nil {
		s.cfg.Logger.Warn("control socket: refused", "err", err)
		return
	}
	v.pid, v.uid, v.gid = int(who.Pid), who.Uid, who.Gid
	r, more, f, err := v.receive()
	if err != nil {
		return // it has ended
	}
	switch r.Kind {
	case requestHello:
		err = s.hello(v)
	case requestPlan:
		err = s.sendPlan(v, f)
		f.Close()
	case requestExecute:
		err = s.execute(v, r, more, f)
	case requestCancel:
		s.forget(v.pid)
	case requestFetch:
		err = s.serveFetch(v, r)
	case requestUnreadable:
		s.cfg.Logger.Warn("cannot follow a program that may not be read; it does not start", "program", cString(more))
	case requestCopy:
		err = s.serveCopy(v, r, f)
	}
	if err != nil {
		s.cfg.Logger.Debug("control socket", "request", r.Kind, "process", v.pid, "err", err)
	}
}

var errStranger = errors.New("a process of another user asked")

// peer returns who is at the other end, if that process may send requests. Processes of
// the same user may: they could control the supervisor by other means anyway.
func (s *Server) peer(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var cred *unix.Ucred
	var got error
	if err := raw.Control(func(fd uintptr) {
		cred, got = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	if got != nil {
		return nil, os.NewSyscallError("getsockopt SO_PEERCRED", got)
	}
	if int(cred.Uid) != os.Geteuid() && !descends(int(cred.Pid), os.Getpid()) {
		return nil, errStranger
	}
	return cred, nil
}

// receive receives a request, the data that follows it, and a descriptor, or nil if there
// is none.
func (v conversation) receive() (r request, more []byte, f *os.File, err error) {
	b := make([]byte, 8192)
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := v.c.ReadMsgUnix(b, oob)
	if err != nil {
		return r, nil, nil, err
	}
	fds, _ := linux.ParseRights(oob[:oobn])
	for i, fd := range fds {
		if i > 0 {
			unix.Close(fd)
			continue
		}
		unix.CloseOnExec(fd)
		f = os.NewFile(uintptr(fd), "from the program")
	}
	size := binary.Size(r)
	if n < size {
		f.Close()
		return r, nil, nil, unix.EPROTO
	}
	if err := binary.Read(bytes.NewReader(b[:size]), binary.LittleEndian,
		&r); err != nil {
		f.Close()
		return r, nil, nil, err
	}
	return r, b[size:n], f, nil
}

// send sends a message with descriptors.
func (v conversation) send(b []byte, files ...*os.File) error {
	var oob []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		oob = unix.UnixRights(fds...)
	}
	_, _, err := v.c.WriteMsgUnix(b, oob, nil)
	return err
}

func (v conversation) sendRequest(r request, files ...*os.File) error {
	var b bytes.Buffer
	if err := binary.Write(&b, binary.LittleEndian, r); err != nil {
		return err
	}
	return v.send(b.Bytes(), files...)
}

// hello tells a process, in which the kernel has executed the loader, what program to
// run.
func (s *Server) hello(v conversation) error {
	s.mu.Lock()
	p, ok := s.prepared[v.pid]
	delete(s.prepared, v.pid)
	if !ok {
		if p, s.first = s.first, nil; p != nil {
			close(s.firstTaken)
		}
	}
	s.mu.Unlock()
	if p == nil {
		return errors.New("nothing is prepared for it")
	}
	defer p.close()
	s.executed(v.pid)
	return v.send(p.message, append([]*os.File{s.memory}, p.files...)...)
}

// sendPlan sends the plan for rewriting a file that the process has mapped. A file
// without sites has no plan.
func (s *Server) sendPlan(v conversation, f *os.File) error {
	if f == nil {
		return v.sendRequest(request{Kind: requestPlan})
	}
	known, err := s.files.get(f)
	if err != nil && !isForeign(err) {
		s.cfg.Logger.Warn("a mapped file cannot be looked at: its calls escape", "file",
			nameOf(f), "err", err)
	}
	if err != nil || known.sites == 0 {
		return v.sendRequest(request{Kind: requestPlan})
	}
	plan, err := known.memory()
	if err != nil {
		return err // it ends the connection
	}
	defer plan.Close()
	return v.sendRequest(request{Kind: requestPlan, A: int64(len(known.plan))}, plan)
}

// execute replies whether a process may execute a file.
func (s *Server) execute(v conversation, r request, more []byte, f *os.File) error {
	if f == nil {
		return s.verdict(v, unix.EMFILE, "", nil)
	}
	path := cString(more)
	if r.A&unix.AT_EMPTY_PATH != 0 && path == "" {
		path = "/dev/fd/" + itoa(r.B)
	} else if r.B != unix.AT_FDCWD && path != "" && path[0] != '/' {
		path = "/dev/fd/" + itoa(r.B) + "/" + path
	}
	open := func(path string) (*os.File, error) {
		if err := s.verdict(v, 0, path, nil); err != nil {
			return nil, err
		}
		r, _, f, err := v.receive()
		switch {
		case err != nil:
			return nil, err
		case f == nil:
			if r.A < 0 {
				return nil, unix.Errno(-r.A)
			}
			return nil, unix.EMFILE
		}
		return reopened(f)
	}
	f, err := reopened(f)
	var p *prepared
	if err == nil {
		p, err = s.prepare(f, path, open)
	}
	if err != nil {
		var errno unix.Errno
		if !errors.As(err, &errno) {
			errno = unix.EIO
		}
		return s.verdict(v, errno, "", nil)
	}
	s.warnIdentity(p, v.uid, v.gid)
	s.keep(v.pid, p)
	return s.verdict(v, 0, "", s.loader)
}

// maxPrepared is how many programs may be prepared before keep drops those whose
// processes have ended without executing them.
const maxPrepared = 32

// keep stores the program that a process is about to execute.
func (s *Server) keep(pid int, p *prepared) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.prepared[pid]; old != nil {
		old.close()
	}
	s.prepared[pid] = p
	if len(s.prepared) < maxPrepared {
		return
	}
	for pid, p := range s.prepared {
		if !alive(pid) {
			p.close()
			delete(s.prepared, pid)
		}
	}
}

// reopened returns a readable file, also if the descriptor was opened with O_PATH.
func reopened(f *os.File) (*os.File, error) {
	flags, err := unix.FcntlInt(f.Fd(), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_PATH == 0 {
		return f, err
	}
	defer f.Close()
	return os.Open("/proc/self/fd/" + itoa(int64(f.Fd())))
}

// verdict sends struct verdict: an errno, a path for the process to open if there is no
// file, or the program to execute.
func (s *Server) verdict(v conversation, errno unix.Errno, path string,
	f *os.File) error {
	b := make([]byte, 8, 8+len(path)+1)
	code := -int32(errno)
	if errno == 0 && f == nil {
		code = verdictOpen
	}
	binary.LittleEndian.PutUint32(b, uint32(code))
	binary.LittleEndian.PutUint32(b[4:], uint32(len(path)))
	b = append(append(b, path...), 0)
	if f != nil {
		return v.send(b, f)
	}
	return v.send(b)
}

// forget drops the program that was prepared for an execve that has failed.
func (s *Server) forget(pid int) {
	s.mu.Lock()
	p := s.prepared[pid]
	delete(s.prepared, pid)
	s.mu.Unlock()
	if p != nil {
		p.close()
	}
}
