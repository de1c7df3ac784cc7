package launcher

import (
	"errors"
	"fmt"
	"log/slog"
	"sync"

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

// An Interposer starts a program, gets the calls of its process tree, and answers them.
type Interposer interface {
	// Abilities says what this way to take calls can do.
	Abilities() syscalls.Abilities
	// Start has boxer-init start the program of a request, which lacks only what the
	// Interposer itself tells boxer-init. Serve runs already: the first calls may come
	// before Start returns. Start fails with *ExitError if the program cannot be
	// executed. No process of the tree is left after an error.
	Start(c *child, req startRequest) error
	// Serve hands each call to answer, until the tree has ended or Close is called. After
	// an error, nobody answers the tree's calls.
	Serve(answer func(syscalls.Call)) error
	// Close ends Serve, waits for it, and releases everything. The tree has ended, or was
	// not started. It may be called more than once.
	Close() error
}

var (
	_ Interposer = (*filtered)(nil)
	_ Interposer = (*rewritten)(nil)
)

// newInterposer makes what takes the calls that the rows are about. own is what the
// program has of its host for itself, see inOwnNamespaces; served is whether calls are
// taken that starting a program takes; processors is whether GOMAXPROCS may change.
func newInterposer(choose func() (InterposerKind, error), rows []syscalls.Entry,
	own namespaces, served, processors bool, log *slog.Logger) (Interposer, error) {
	k, why := choose()
	if why != nil {
		log.Info("no filters here: calls are taken inside the program", "why", why)
	}
	rows = trapped(k.abilities().Takes(rows), own)
	if k == InterposerRewrite {
		r, err := newRewritten(rows, processors, log)
		if err != nil {
			return nil, err // not r: an interface that holds nil is not nil
		}
		return r, nil
	}
	f, err := newFiltered(rows, served, log)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// abilities returns what programs get of a kind on this host.
func (k InterposerKind) abilities() syscalls.Abilities {
	if k == InterposerRewrite {
		return rewriteAbilities()
	}
	return filterAbilities
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

// A serving is an Interposer's Serve, which Close waits for.
type serving struct {
	mu      sync.Mutex
	wg      sync.WaitGroup // Serve; added to with mu
	closing chan struct{}  // closed by close
	closed  bool
}

func newServing() serving { return serving{closing: make(chan struct{})} }

// begin reports whether Serve may go on; it calls s.wg.Done at its end then.
func (s *serving) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.wg.Add(1)
	return true
}

// close keeps Serve from beginning. It reports whether it was called for the first time.
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
