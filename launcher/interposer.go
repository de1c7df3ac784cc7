package launcher

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/boxer-sandbox/boxer/sandbox"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// InterposerKind is a way to take a program's system calls.
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

// An Interposer starts a program, gets the calls of its process tree, and answers them.
type Interposer interface {
	// Abilities says what this way to take calls can do.
	Abilities() syscalls.Abilities
	// Start has boxer-init start the program of a request, to which the Interposer adds
	// its own parts. Serve runs already, because the first calls may arrive before Start
	// returns. Start fails with *ExitError if the program cannot be executed. After an
	// error, no process of the tree is left.
	Start(c *child, req startRequest) error
	// Exec has boxer-init run a command beside the program, after Start has returned. It
	// fails with *ExitError if the command cannot be executed.
	Exec(c *child, s *starting) error
	// Serve passes each call to answer, until the tree has ended or Close is called.
	// After an error of Serve, no call of the tree is answered.
	Serve(answer func(syscalls.Call)) error
	// Close ends Serve, waits for it, and releases all resources. The caller has ended
	// the tree or never started it. Close may be called more than once.
	Close() error
}

var (
	_ Interposer = (*filtered)(nil)
	_ Interposer = (*rewritten)(nil)
)

// newInterposer makes the Interposer that takes the calls of the rows. own are the
// program's own namespaces, see inOwnNamespaces. t, if not nil, is about calls that may
// be logged. served says whether it also takes the calls that start a program. processors
// says whether GOMAXPROCS may change.
func newInterposer(choose func() (InterposerKind, error), rows []syscalls.Entry,
	own namespaces, t *logging, served, processors bool,
	log *slog.Logger) (Interposer, error) {
	k, why := choose()
	if why != nil {
		log.Info("no filters here: calls are taken inside the program", "why", why)
	}
	rows = k.abilities().Takes(rows)
	if k == InterposerRewrite && t != nil {
		rows = k.abilities().LogRows(rows, t.names, t.direct)
	}
	rows = trapped(rows, own)
	if k == InterposerRewrite {
		r, err := newRewritten(rows, t, processors, log)
		if err != nil {
			return nil, err // not r: an interface with a nil pointer is not nil
		}
		return r, nil
	}
	f, err := newFiltered(rows, served, log)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// A logging is about the calls of a traced node that an Interposer may log, if it can.
type logging struct {
	names  map[uintptr]string // of calls
	bytes  int                // of payload
	direct bool               // the node has direct connections
}

// abilities returns the abilities of a kind on this host.
func (k InterposerKind) abilities() syscalls.Abilities {
	if k == InterposerRewrite {
		return rewriteAbilities()
	}
	return filterAbilities
}

// choose returns the kind to use, and, if filters do not work on this host, why. It tries
// to install a filter on a thread that ends afterwards.
func (k InterposerKind) choose() (InterposerKind, error) {
	if k != InterposerAuto && k != "" {
		return k, nil
	}
	err := sandbox.Usable()
	// this process has a supervisor already; the caller reports that
	if err == nil || errors.Is(err, sandbox.ErrFilterBusy) {
		return InterposerSeccomp, nil
	}
	return InterposerRewrite, err
}

// A serving lets an Interposer's Close wait for its Serve.
type serving struct {
	mu      sync.Mutex
	wg      sync.WaitGroup // counts Serve; added to while mu is held
	closing chan struct{}  // closed by close
	closed  bool
}

func newServing() serving { return serving{closing: make(chan struct{})} }

// begin reports whether Serve may run. If so, Serve must call s.wg.Done at its end.
func (s *serving) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// close prevents further calls of Serve. It returns true the first time it is called.
func (s *serving) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.closed = true
	close(s.closing)
	return true
}
