package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/rewrite"
	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
)

// rewriteAbilities are the abilities of package rewrite. It rewrites the instructions of
// 64-bit programs when a file is mapped. The host decides whether boxer can copy
// descriptors while no call waits: it may refuse pidfd_getfd(2).
func rewriteAbilities() syscalls.Abilities {
	a := syscalls.Abilities{Memory: true}
	if fd, err := sandbox.CopyFD(os.Getpid(), int(os.Stderr.Fd())); err == nil {
		unix.Close(fd)
		a.CopyFD = sandbox.CopyFD
	} else if errors.Is(err, unix.EBADF) { // the host allows pidfd_getfd(2)
		a.CopyFD = sandbox.CopyFD
	}
	return a
}

// rewritten implements Interposer by package rewrite: calls are taken inside the program.
type rewritten struct {
	serving
	r      *rewrite.Server
	fds    sandbox.FDCopier
	logged atomic.Pointer[func(*syscalls.LoggedCall)] // nil: nobody receives the log

	executing sync.Mutex // held while a command is prepared and not taken yet
}

// newRewritten makes the Interposer that rewrites programs. t is nil if nothing is
// logged.
func newRewritten(rows []syscalls.Entry, t *logging, processors bool,
	log *slog.Logger) (*rewritten, error) {
	r := &rewritten{serving: newServing()}
	cfg := rewrite.Config{Rules: rewriteRules(rows), CopyFD: r.copyFD, Logger: log,
		Cache: planCache(), Processor: processors, Logged: r.pass}
	if t != nil {
		cfg.Payload = t.bytes
	}
	var err error
	if r.r, err = rewrite.New(cfg); err != nil {
		return nil, err
	}
	return r, nil
}

// Abilities implements Interposer.
func (r *rewritten) Abilities() syscalls.Abilities {
	a := rewriteAbilities()
	a.Names, a.Log = nameTable{r.r}, callLog{r}
	return a
}

// A callLog is the log of package rewrite.
type callLog struct{ r *rewritten }

var _ syscalls.CallLog = callLog{}

// Deliver implements syscalls.CallLog.
func (l callLog) Deliver(to func(*syscalls.LoggedCall)) { l.r.logged.Store(&to) }

// Flush implements syscalls.CallLog.
func (l callLog) Flush() { l.r.r.FlushLog() }

// pass passes a logged call on.
func (r *rewritten) pass(c *rewrite.Logged) {
	to := r.logged.Load()
	if to == nil {
		return
	}
	l := syscalls.LoggedCall{TID: c.TID, Nr: c.Nr, Args: c.Args, Result: c.Result,
		Waits: c.Waits, Start: c.Start, Took: c.Took}
	for _, p := range c.Pieces {
		l.Memory = append(l.Memory, syscalls.LoggedMemory(p))
	}
	(*to)(&l)
}

// A nameTable is the table by which package rewrite answers calls inside programs.
type nameTable struct{ r *rewrite.Server }

var _ syscalls.NameTable = nameTable{}

// Set implements syscalls.NameTable.
func (t nameTable) Set(cookie, count uint64, n syscalls.SocketNames) {
	t.r.SetNames(cookie, count, rewrite.SocketNames(n))
}

// Forget implements syscalls.NameTable.
func (t nameTable) Forget(cookie uint64) { t.r.ForgetNames(cookie) }

// Count implements syscalls.NameTable.
func (t nameTable) Count() uint64 { return t.r.ForgetCount() }

// Use implements syscalls.NameTable.
func (t nameTable) Use(yes bool) { t.r.AnswerNames(yes) }

// planCache returns the directory for plans: one in the user's cache directory, or one in
// /tmp if the user does not own a cache directory. With sudo -E, HOME is another user's,
// and root's files there would keep that user from the cache.
func planCache() string {
	if dir, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(dir, "boxer", "plans")
		if ownsNearest(dir) && os.MkdirAll(dir, 0o700) == nil &&
			unix.Access(dir, unix.W_OK) == nil {
			return dir
		}
	}
	return filepath.Join(os.TempDir(), fmt.Sprintf("boxer-plans-%d", os.Geteuid()))
}

// ownsNearest reports whether this process's user owns a directory, or, if it does not
// exist, its nearest existing parent.
func ownsNearest(dir string) bool {
	for {
		var st unix.Stat_t
		err := unix.Stat(dir, &st)
		switch {
		case err == nil:
			return int(st.Uid) == os.Geteuid()
		case !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir):
			return false
		}
		dir = filepath.Dir(dir)
	}
}

// rewriteRules returns the rules for the rows of the table. None of the rows is of the
// 32-bit ABI.
func rewriteRules(rows []syscalls.Entry) (rules []rewrite.Rule) {
	for _, e := range rows {
		r := rewrite.Rule{Nr: e.Nr, Errno: e.Fail, Log: e.Log != nil}
		if e.Log != nil {
			for _, c := range *e.Log {
				r.Capture = append(r.Capture, rewriteCapture(c))
			}
		}
		for _, c := range e.When {
			r.If = append(r.If, rewriteCondition(c))
		}
		rules = append(rules, r)
	}
	return rules
}

func rewriteCapture(c strace.Capture) rewrite.Capture {
	kind := map[strace.CaptureKind]rewrite.Capture{
		strace.CaptureString:   rewrite.CaptureString,
		strace.CaptureSent:     rewrite.CaptureSent,
		strace.CaptureReceived: rewrite.CaptureReceived,
		strace.CaptureTime:     rewrite.CaptureTime,
	}
	return kind[c.Kind] + rewrite.Capture(c.Arg)
}

func rewriteCondition(c syscalls.Condition) rewrite.Condition {
	switch {
	case c.ProcNet:
		return rewrite.Condition{Arg: c.Arg, Op: rewrite.ProcNet}
	case c.NotNull:
		return rewrite.Condition{Arg: c.Arg, Op: rewrite.NotEqual}
	case c.AtLeast > 0:
		return rewrite.Condition{Arg: c.Arg, Op: rewrite.AtLeast, Value: c.AtLeast}
	case c.Mask != 0:
		return rewrite.Condition{Arg: c.Arg, Op: rewrite.MaskedEqual,
			Mask: uint64(c.Mask), Value: uint64(c.Equal)}
	}
	return rewrite.Condition{Arg: c.Arg, Op: rewrite.MaskedEqual, Mask: 0xffffffff,
		Value: uint64(c.Equal)}
}

// Start implements Interposer.
func (r *rewritten) Start(c *child, req startRequest) error {
	argv, err := r.prepare(req.Argv)
	if err != nil {
		c.abandon()
		msg, code := explain(req.Argv[0], err)
		return &ExitError{Code: code, Err: errors.New(msg)}
	}
	req.Argv, req.Loader = argv, true
	return c.start(req, int(r.r.Loader().Fd()), nil)
}

// Exec implements Interposer.
func (r *rewritten) Exec(c *child, s *starting) error {
	r.executing.Lock()
	defer r.executing.Unlock()
	argv, err := r.prepare(s.request.Argv)
	if err != nil {
		msg, code := explain(s.request.Argv[0], err)
		return &ExitError{Code: code, Err: errors.New(msg)}
	}
	s.request.Argv = argv
	s.files = append(s.files, r.r.Loader())
	if err := c.exec(s); err != nil {
		return err
	}
	select { // the next program that is prepared is for another process
	case <-r.r.Taken():
	case <-s.done:
	}
	return nil
}

// Serve implements Interposer.
func (r *rewritten) Serve(answer func(syscalls.Call)) error {
	if !r.begin() {
		return nil
	}
	defer r.wg.Done()
	return r.r.Serve(func(call *rewrite.Call) { answer(rewrittenCall{call}) })
}

// Close implements Interposer.
func (r *rewritten) Close() error {
	if !r.close() {
		return nil
	}
	err := r.r.Close()
	r.wg.Wait()
	r.fds.Close()
	return err
}

// prepare finds the program and returns its arguments. As with execvp(3), the shell runs
// a script without an interpreter line.
func (r *rewritten) prepare(argv []string) ([]string, error) {
	path, err := exec.LookPath(argv[0])
	if err != nil && !errors.Is(err, exec.ErrDot) {
		return nil, err
	}
	err = r.r.Prepare(path)
	if errors.Is(err, unix.ENOEXEC) && !errors.Is(err, rewrite.ErrOtherABI) {
		if r.r.Prepare("/bin/sh") == nil {
			return append([]string{"/bin/sh", path}, argv[1:]...), nil
		}
	}
	if err != nil {
		return nil, &fs.PathError{Op: "exec", Path: path, Err: err}
	}
	return argv, nil
}

// copyFD copies a descriptor of the program. If the host refuses that, the program sends
// the descriptor itself.
func (r *rewritten) copyFD(c *rewrite.Call, fd int) (int, error) {
	got, err := r.fds.Copy(c, fd)
	if errors.Is(err, sandbox.ErrGone) {
		err = rewrite.ErrGone
	}
	return got, err
}

// A rewrittenCall is a taken call as a syscalls.Call.
type rewrittenCall struct{ *rewrite.Call }

var _ syscalls.Call = rewrittenCall{}

// Keep implements syscalls.Call.
func (c rewrittenCall) Keep() syscalls.Call { return rewrittenCall{c.Call.Keep()} }
