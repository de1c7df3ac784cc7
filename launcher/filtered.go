package launcher

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// filterAbilities are the abilities of a seccomp filter. It traps calls wherever the
// instruction is, of both ABIs, and also those of the thread that installed the filter.
var filterAbilities = syscalls.Abilities{Compat: true, Generated: true, Starting: true,
	CopyFD: sandbox.CopyFD}

// filtered implements Interposer by a seccomp filter.
type filtered struct {
	serving
	program sandbox.Program
	served  bool // the filter traps calls that start a program
	log     *slog.Logger

	listening chan struct{} // closed when listener is set
	listener  *sandbox.Listener

	more   sync.Mutex          // guards answer
	answer func(syscalls.Call) // set by Serve, before listener is
}

func newFiltered(rows []syscalls.Entry, served bool, log *slog.Logger) (*filtered, error) {
	program, err := policyOf(rows).Compile()
	if err != nil {
		return nil, fmt.Errorf("seccomp filter: %w", err)
	}
	return &filtered{serving: newServing(), program: program, served: served, log: log,
		listening: make(chan struct{})}, nil
}

// Abilities implements Interposer.
func (f *filtered) Abilities() syscalls.Abilities { return filterAbilities }

// Start implements Interposer.
func (f *filtered) Start(c *child, req startRequest) error {
	req.Filter, req.Served = f.program.Bytes(), f.served
	return c.start(req, -1, func(file *os.File) error {
		l, err := sandbox.NewListener(file)
		if err != nil {
			return fmt.Errorf("seccomp listener: %w", err)
		}
		f.listener = l
		close(f.listening)
		return nil
	})
}

// Serve implements Interposer. It returns when no thread has the filter any more.
func (f *filtered) Serve(answer func(syscalls.Call)) error {
	if !f.begin() {
		return nil
	}
	defer f.wg.Done()
	f.more.Lock()
	f.answer = answer
	f.more.Unlock()
	select {
	case <-f.listening:
	case <-f.closing:
		return nil
	}
	return f.serve(f.listener, answer)
}

func (f *filtered) serve(l *sandbox.Listener, answer func(syscalls.Call)) error {
	var told sync.Once
	err := l.Serve(func(n *sandbox.Notif) {
		answer(call{n, &told, f.log})
	})
	if err != nil {
		return fmt.Errorf("supervise: %w", err)
	}
	return nil
}

// Exec implements Interposer. The command gets a filter of its own: a thread of
// boxer-init that is under the first one does not exist any more.
func (f *filtered) Exec(c *child, s *starting) error {
	s.listen = func(file *os.File) error {
		l, err := sandbox.NewListener(file)
		if err != nil {
			return fmt.Errorf("seccomp listener: %w", err)
		}
		if !f.begin() { // no thread is left
			return errors.Join(os.ErrProcessDone, l.Close())
		}
		f.more.Lock()
		answer := f.answer
		f.more.Unlock()
		go func() { // ends with the command's tree, which Close waits for
			defer f.wg.Done()
			// A node may execute many commands, so each listener goes with its tree.
			if err := errors.Join(f.serve(l, answer), l.Close()); err != nil {
				f.log.Error("the calls of a command are not answered any more",
					"command", s.request.Argv[0], "err", err)
			}
		}()
		return nil
	}
	return c.exec(s)
}

// Close implements Interposer.
func (f *filtered) Close() error {
	if !f.close() {
		return nil
	}
	f.wg.Wait()
	if f.listener == nil {
		return nil
	}
	return f.listener.Close()
}

// policyOf returns the filter's policy: which calls it traps, by the rows.
func policyOf(rows []syscalls.Entry) sandbox.Policy {
	var p sandbox.Policy
	for _, e := range rows {
		p = append(p, rule(e))
	}
	return p
}

func rule(e syscalls.Entry) sandbox.Rule {
	r := sandbox.Rule{Nr: e.Nr, Compat: e.Compat, Errno: e.Fail}
	for _, c := range e.When {
		r.If = append(r.If, condition(c))
	}
	return r
}

func condition(c syscalls.Condition) sandbox.Condition {
	switch {
	case c.NotNull:
		return sandbox.NotNull(c.Arg)
	case c.AtLeast > 0:
		return sandbox.Condition{Arg: c.Arg, Op: sandbox.AtLeast, Value: c.AtLeast}
	case c.Mask != 0:
		return sandbox.BitsEqual(c.Arg, c.Mask, c.Equal)
	}
	return sandbox.IntEqual(c.Arg, c.Equal)
}

// A call is a trapped call as a syscalls.Call.
type call struct {
	*sandbox.Notif
	told *sync.Once // logs once that descriptors cannot be copied
	log  *slog.Logger
}

var _ syscalls.Call = call{}

// CopyFD implements syscalls.Call. It fails if the program has become another user, or
// has made itself non-dumpable (prctl(2)). Then CopyFD logs that once, because the
// program's calls fail for that reason.
func (c call) CopyFD(fd int) (int, error) {
	got, err := c.Notif.CopyFD(fd)
	if errors.Is(err, unix.EPERM) {
		c.told.Do(func() {
			c.log.Warn("boxer may not copy a program's sockets, so its network calls fail with EPERM; give boxer CAP_SYS_PTRACE, or run the program as boxer's user",
				"thread", c.TID())
		})
	}
	return got, err
}

// Keep implements syscalls.Call.
func (c call) Keep() syscalls.Call { return call{c.Clone(), c.told, c.log} }
