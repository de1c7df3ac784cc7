package rewrite

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// copyFD copies a descriptor of a thread's.
func copyFD(c *Call, fd int) (int, error) {
	pidfd, err := unix.PidfdOpen(c.TID(), unix.O_EXCL) // PIDFD_THREAD
	if errors.Is(err, unix.EINVAL) {
		pidfd, err = unix.PidfdOpen(c.TID(), 0)
	}
	if err != nil {
		return -1, err
	}
	defer unix.Close(pidfd)
	return unix.PidfdGetfd(pidfd, fd, 0)
}

// A lab runs programs under a Server.
type lab struct {
	s       *Server
	served  sync.WaitGroup
	answers running // the answer functions that have not returned yet
}

// running counts what runs. Other than of a sync.WaitGroup, its begin may be called while
// another goroutine waits.
type running struct {
	mu   sync.Mutex
	n    int
	none *sync.Cond // made by wait
}

func (r *running) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.n++
}

func (r *running) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n--; r.n == 0 && r.none != nil {
		r.none.Broadcast()
	}
}

// wait waits until nothing runs.
func (r *running) wait() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.none == nil {
		r.none = sync.NewCond(&r.mu)
	}
	for r.n > 0 {
		r.none.Wait()
	}
}

func newLab(t *testing.T, rules []Rule, answer func(*Call)) *lab {
	t.Helper()
	return newLabOf(t, native, Config{Rules: rules, CopyFD: copyFD}, answer)
}

func newLabOf(t *testing.T, target target, cfg Config, answer func(*Call)) *lab {
	t.Helper()
	s, err := newServer(cfg, target)
	if err != nil {
		t.Fatal(err)
	}
	l := &lab{s: s}
	l.served.Go(func() {
		err := s.Serve(func(c *Call) {
			l.answers.begin()
			defer l.answers.end()
			answer(c)
		})
		if err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		l.served.Wait()
	})
	return l
}

// run runs a program and returns what it wrote. When run returns, so has the answer
// function of each of the program's calls: a program continues, and may end, before
// the function that answered it returns.
func (l *lab) run(t *testing.T, argv ...string) string {
	t.Helper()
	cmd := l.command(t, argv...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v\n%s", argv, err, out)
	}
	l.answers.wait()
	return string(bytes.TrimRight(out, "\n"))
}

func (l *lab) command(t *testing.T, argv ...string) *exec.Cmd {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := l.s.Prepare(path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/fd/"+itoa(int64(l.s.Loader().Fd())), argv[1:]...)
	cmd.Args[0] = argv[0]
	cmd.Stdin = os.Stdin
	return cmd
}
