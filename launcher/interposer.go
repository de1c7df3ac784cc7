package launcher

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// InterposerKind is a way to get at a program's calls.
type InterposerKind string

const (
	// InterposerAuto is InterposerSeccomp where that works, and InterposerRewrite
	// elsewhere.
	InterposerAuto InterposerKind = "auto"
	// InterposerSeccomp traps calls by a seccomp filter (package sandbox).
	InterposerSeccomp InterposerKind = "seccomp"
	// InterposerRewrite takes calls inside the program (package rewrite).
	InterposerRewrite InterposerKind = "rewrite"
)

// ParseInterposer reads a kind; empty is InterposerAuto.
func ParseInterposer(s string) (InterposerKind, error) {
	switch k := InterposerKind(s); k {
	case "":
		return InterposerAuto, nil
	case InterposerAuto, InterposerSeccomp, InterposerRewrite:
		return k, nil
	}
	return "", fmt.Errorf("%q: unknown interposer; use auto, seccomp or rewrite", s)
}

// An interposer starts a program, gets calls out of its tree, and answers into it.
type interposer interface {
	// start starts the program of a request, which lacks only what the interposer itself
	// tells boxer-init. The program's calls go to answer. It fails with *ExitError if the
	// program cannot be executed.
	start(c *child, o startRequest, answer func(syscalls.Call)) error
	// wait returns when no call is answered any more. The program and its tree have
	// ended.
	wait() error
	// close releases what start took.
	close() error
}

// newInterposer makes what takes the calls that the rows are about. own is what the
// program has of its host for itself, see inOwnNamespaces; served is whether calls are
// taken that starting a program takes.
func newInterposer(choose func() (InterposerKind, error), rows []syscalls.Entry,
	own namespaces, served bool, log *slog.Logger) (interposer, error) {
	k, why := choose()
	if why != nil {
		log.Info("no filters here: calls are taken inside the program", "why", why)
	}
	if k == InterposerRewrite {
		own.mounted = false // paths are looked at: that costs no more than the mounts do
		r, err := newRewritten(trapped(native(rows), own), log)
		if err != nil {
			return nil, err // not r: an interface that holds nil is not nil
		}
		return r, nil
	}
	program, err := policyOf(rows, own).Compile()
	if err != nil {
		return nil, fmt.Errorf("seccomp filter: %w", err)
	}
	return &filtered{program: program, served: served}, nil
}

// native returns the rows that are not of the 32-bit ABI, whose programs are not
// rewritten.
func native(rows []syscalls.Entry) []syscalls.Entry {
	return slices.DeleteFunc(slices.Clone(rows),
		func(e syscalls.Entry) bool { return e.Compat })
}

// choose returns the kind to use, and if filters do not work here, why. That is tried on
// a thread that ends with the trial.
func (k InterposerKind) choose() (InterposerKind, error) {
	if k != InterposerAuto && k != "" {
		return k, nil
	}
	err := sandbox.Usable()
	// a supervisor above this one, which will be told
	if err == nil || errors.Is(err, sandbox.ErrFilterBusy) {
		return InterposerSeccomp, nil
	}
	return InterposerRewrite, err
}

// choosing begins to choose, and returns what waits for the result.
func (k InterposerKind) choosing() func() (InterposerKind, error) {
	choose := sync.OnceValues(k.choose)
	go choose()
	return choose
}

// A server is the goroutine that answers a program's calls.
type server struct {
	wg  sync.WaitGroup
	err error // when wg is done
}

// run runs f, and ends the program's tree if it fails: nobody answers any more, so every
// call would hang or fail.
func (s *server) run(init int, f func() error) {
	s.wg.Go(func() {
		if s.err = f(); s.err != nil {
			unix.Kill(init, unix.SIGKILL)
		}
	})
}

// A filtered program's calls are trapped by a seccomp filter.
type filtered struct {
	server
	program  sandbox.Program
	served   bool
	listener *sandbox.Listener
}

func (f *filtered) start(c *child, o startRequest, answer func(syscalls.Call)) error {
	o.Filter, o.Served = f.program.Bytes(), f.served
	return c.start(o, -1, func(file *os.File) (err error) {
		if f.listener, err = sandbox.NewListener(file); err != nil {
			return fmt.Errorf("seccomp listener: %w", err)
		}
		f.run(c.init, func() error { return serve(f.listener, answer) })
		return nil
	})
}

func (f *filtered) wait() error {
	f.wg.Wait() // no thread is left under the filter
	return f.err
}

func (f *filtered) close() error {
	if f.listener == nil {
		return nil
	}
	return f.listener.Close()
}
