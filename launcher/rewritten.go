package launcher

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/rewrite"
	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// A rewritten program's calls are taken inside it.
type rewritten struct {
	server
	r      *rewrite.Server
	fds    sandbox.FDCopier
	closed bool
}

func newRewritten(rows []syscalls.Entry, log *slog.Logger) (*rewritten, error) {
	r := &rewritten{}
	var err error
	r.r, err = rewrite.New(rewrite.Config{Rules: rewriteRules(rows), CopyFD: r.copyFD,
		Logger: log, Cache: planCache()})
	if err != nil {
		return nil, err
	}
	return r, nil
}

// planCache returns the directory for plans: one in the user's cache directory, or one in
// /tmp where the user has no such directory of its own. Under sudo -E, HOME is another
// user's: files of root there would keep that user from the cache.
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

// ownsNearest reports whether this process's user owns a directory, or the nearest one
// above it that exists.
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

// rewriteRules are the rules that the rows of the table come to. Those of the 32-bit ABI
// have numbers that mean other calls, and no program of that ABI is followed.
func rewriteRules(rows []syscalls.Entry) (rules []rewrite.Rule) {
	for _, e := range rows {
		if e.Compat {
			continue
		}
		r := rewrite.Rule{Nr: e.Nr, Errno: e.Fail}
		when := e.When
		if len(e.Inside) > 0 {
			when = e.Inside
		}
		for _, c := range when {
			r.If = append(r.If, rewriteCondition(c))
		}
		rules = append(rules, r)
	}
	return rules
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

func (r *rewritten) start(c *child, o startRequest, answer func(syscalls.Call)) error {
	argv, err := r.prepare(o.Argv)
	if err != nil {
		c.abandon()
		msg, code := explain(o.Argv[0], err)
		return &ExitError{Code: code, Err: errors.New(msg)}
	}
	o.Argv, o.Loader = argv, true
	r.run(c.init, func() error {
		return r.r.Serve(func(call *rewrite.Call) { answer(rewrittenCall{call}) })
	})
	return c.start(o, int(r.r.Loader().Fd()), nil)
}

// prepare finds the program and returns its arguments. As from execvp(3), a script
// without an interpreter line goes to the shell.
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

func (r *rewritten) wait() error {
	err := r.stop()
	r.wg.Wait()
	return errors.Join(r.err, err)
}

func (r *rewritten) stop() error {
	if r.closed {
		return nil
	}
	r.closed = true
	return r.r.Close()
}

func (r *rewritten) close() error {
	r.fds.Close()
	return r.stop()
}

// copyFD copies a descriptor of a program's, if that is in the supervisor's reach; the
// program sends it otherwise.
func (r *rewritten) copyFD(c *rewrite.Call, fd int) (int, error) {
	got, err := r.fds.Copy(c, fd)
	if errors.Is(err, sandbox.ErrGone) {
		err = rewrite.ErrGone
	}
	return got, err
}

// A rewrittenCall is a call as package syscalls sees it.
type rewrittenCall struct{ *rewrite.Call }

// Keep implements syscalls.Call.
func (c rewrittenCall) Keep() syscalls.Call { return rewrittenCall{c.Call.Keep()} }
