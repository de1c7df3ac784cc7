package control

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/host"
)

// within bounds what a test waits for.
const within = 20 * time.Second

// A fakeNode is a node whose commands are ordinary processes.
type fakeNode struct {
	log   *Log
	ended chan struct{}
	code  int

	mu      sync.Mutex
	signals []syscall.Signal
	dies    syscall.Signal // the signal that ends the program
	listed  []bool
}

func newFakeNode() *fakeNode {
	return &fakeNode{log: NewLog(1 << 16), ended: make(chan struct{}),
		dies: syscall.SIGTERM}
}

func (n *fakeNode) Describe() Description { return Description{ID: 7, Name: "db", PID: 42} }

func (n *fakeNode) Exec(_ context.Context, c Command, f Files) (Execution, error) {
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env, cmd.Dir = append(os.Environ(), c.Env...), c.Dir
	cmd.Stdin, cmd.Stdout, cmd.Stderr = f.Stdin, f.Stdout, f.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: f.Terminal}
	if err := cmd.Start(); err != nil {
		return nil, notFound{err}
	}
	return process{cmd}, nil
}

// notFound is an error with an exit code.
type notFound struct{ error }

func (notFound) ExitCode() int { return 127 }

// A process is an Execution.
type process struct{ cmd *exec.Cmd }

func (p process) Wait() int {
	_ = p.cmd.Wait()
	if s := p.cmd.ProcessState.Sys().(syscall.WaitStatus); s.Signaled() {
		return 128 + int(s.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p process) Signal(s syscall.Signal) error { return syscall.Kill(-p.cmd.Process.Pid, s) }

func (n *fakeNode) Signal(s syscall.Signal) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.signals = append(n.signals, s)
	if s == n.dies {
		n.code = 128 + int(s)
		n.log.Close()
		close(n.ended)
	}
	return nil
}

func (n *fakeNode) SetListed(_ context.Context, listed bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.listed = append(n.listed, listed)
	return nil
}

func (n *fakeNode) Log() *Log              { return n.log }
func (n *fakeNode) Ended() <-chan struct{} { return n.ended }
func (n *fakeNode) Result() host.Result    { return host.Result{Code: n.code} }

// pair returns the ends of a connection.
func pair(t *testing.T) (ours, theirs net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX,
		syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "pair")
		if ends[i], err = net.FileConn(f); err != nil {
			t.Fatal(err)
		}
		f.Close()
		ends[i].SetDeadline(time.Now().Add(within))
	}
	return ends[0], ends[1]
}

// open serves a node on a connection and opens a session on it.
func open(t *testing.T, n Node, a Access, key ed25519.PrivateKey,
	binding []byte) (*Session, error) {
	t.Helper()
	ours, theirs := pair(t)
	served := make(chan struct{})
	go func() { defer close(served); _ = Serve(t.Context(), theirs, n, a) }()
	t.Cleanup(func() { ours.Close(); <-served })
	return Open(ours, key, binding)
}

func trusted(t *testing.T, n Node) *Session {
	t.Helper()
	s, err := open(t, n, Access{Trusted: true}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestProof opens sessions with and without the right key.
func TestProof(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	_, other, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	here, there := []byte("node a, node b"), []byte("node a, node c")
	for name, tc := range map[string]struct {
		access Access
		key    ed25519.PrivateKey
		want   string
	}{
		"the owner": {Access{Owner: public, Binding: here}, key, ""},
		"somebody else": {Access{Owner: public, Binding: here}, other,
			"belongs to somebody else"},
		"another connection": {Access{Owner: public, Binding: there}, key,
			"belongs to somebody else"},
		"no owner": {Access{Binding: here}, key, "takes no orders"},
		"no key": {Access{Owner: public, Binding: here}, nil,
			"this user has none"},
		"trusted": {Access{Trusted: true}, nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := open(t, newFakeNode(), tc.access, tc.key, here)
			if err == nil {
				var d Description
				if d, err = s.Describe(); err == nil && d.Name != "db" {
					t.Errorf("got %+v", d)
				}
			}
			if tc.want == "" && err != nil ||
				tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

// TestUnproven has clients that have proven nothing send frames that are too large, and
// connects to a node that has no owner. It serves them at once in both cases.
func TestUnproven(t *testing.T) {
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		access Access
		send   string // after the challenge
		want   string
	}{
		"large frame": {Access{Owner: public}, "p\x00\x00\x04\x01", "not a frame"},
		"no owner":    {Access{}, "", "takes no orders"},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t)
			tc.access.Proven = func() { t.Error("proven") }
			served := make(chan error, 1)
			go func() { served <- Serve(t.Context(), theirs, newFakeNode(), tc.access) }()
			r := host.NewReader(ours)
			if tc.send != "" {
				if err := readJSON(r, host.Challenge, new(challenge)); err != nil {
					t.Error(err)
				}
				if _, err := io.WriteString(ours, tc.send); err != nil {
					t.Error(err)
				}
			}
			err := readJSON(r, host.Challenge, new(challenge))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the client hears %v, want %q", err, tc.want)
			}
			ours.Close()
			if err := <-served; err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("Serve: %v, want %q", err, tc.want)
			}
		})
	}
}

// TestProven looks for the report of a proof.
func TestProven(t *testing.T) {
	public, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	var proven atomic.Int32
	s, err := open(t, newFakeNode(), Access{Owner: public,
		Proven: func() { proven.Add(1) }}, key, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Describe(); err != nil || proven.Load() != 1 {
		t.Errorf("%v, proven %d times, want once", err, proven.Load())
	}
}

// TestUnexpectedOutput has a node send output that the client has not asked for.
func TestUnexpectedOutput(t *testing.T) {
	for name, ask := range map[string]func(*Session) error{
		"stop": func(s *Session) error {
			_, err := s.Stop(t.Context(), time.Second)
			return err
		},
		"signal": func(s *Session) error { return s.Signal(t.Context(), syscall.SIGTERM) },
		"list":   func(s *Session) error { return s.SetListed(t.Context(), true) },
		"logs":   func(s *Session) error { return s.Logs(t.Context(), -1, false, Streams{}) },
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := pair(t)
			defer theirs.Close()
			w := host.NewWriter(theirs)
			for _, err := range []error{
				w.WriteJSON(host.Challenge, challenge{}),
				w.Write(host.Stdout, []byte("out")), w.Write(host.Stderr, []byte("err")),
				w.WriteJSON(host.Exit, host.Result{}),
			} {
				if err != nil {
					t.Fatal(err)
				}
			}
			s, err := Open(ours, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := ask(s); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestExec(t *testing.T) {
	n := newFakeNode()
	var out, errs bytes.Buffer
	text := strings.Repeat("0123456789", 100_000) // more than the first credit
	result, err := trusted(t, n).Exec(t.Context(), Command{Argv: []string{"sh", "-c",
		"cat; pwd; echo $A >&2; exit 9"}, Env: []string{"A=b"}, Dir: "/tmp"},
		Streams{Stdin: strings.NewReader(text), Stdout: &out, Stderr: &errs})
	if err != nil || result.Code != 9 || out.String() != text+"/tmp\n" ||
		errs.String() != "b\n" {
		t.Errorf("%+v, %v, %d bytes, %q", result, err, out.Len(), &errs)
	}
	result, err = trusted(t, n).Exec(t.Context(), Command{Argv: []string{"/no/such"}},
		Streams{Stdout: &out, Stderr: &errs})
	if err == nil || result.Code != 127 {
		t.Errorf("no such command: %+v, %v", result, err)
	}
	// What it leaves running does not hold it up.
	result, err = trusted(t, n).Exec(t.Context(), Command{Argv: []string{"sh", "-c",
		"sleep 5 & echo done"}}, Streams{Stdout: &out, Stderr: &errs})
	if err != nil || !strings.HasSuffix(out.String(), "done\n") {
		t.Errorf("%+v, %v", result, err)
	}
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	result, err = trusted(t, n).Exec(t.Context(),
		Command{Argv: []string{"sleep", "1000"}},
		Streams{Stdout: &out, Stderr: &errs, Signals: signals})
	if err != nil || result.Code != 128+int(syscall.SIGTERM) {
		t.Errorf("signalled: %+v, %v", result, err)
	}
}

// TestExecTerminal gives a command a terminal, and changes its size.
func TestExecTerminal(t *testing.T) {
	out := &seen{text: "20 70", is: make(chan struct{})}
	windows := make(chan host.WindowSize)
	r, w := io.Pipe()
	go func() {
		<-out.is
		windows <- host.WindowSize{Rows: 30, Columns: 100}
		io.WriteString(w, "go on\n")
	}()
	result, err := trusted(t, newFakeNode()).Exec(t.Context(),
		Command{Argv: []string{"sh", "-c",
			"stty size; read l; stty size; exit 3"},
			Terminal: &host.WindowSize{Rows: 20, Columns: 70}},
		Streams{Stdin: r, Stdout: out, Stderr: io.Discard, Windows: windows})
	if err != nil || result.Code != 3 || !strings.Contains(out.String(), "20 70\r\n") ||
		!strings.Contains(out.String(), "30 100\r\n") {
		t.Errorf("%+v, %v, %q", result, err, out)
	}
}

// A seen is a buffer that says when a text is in it.
type seen struct {
	bytes.Buffer
	text string
	is   chan struct{}
	once sync.Once
}

// Write implements io.Writer.
func (s *seen) Write(b []byte) (int, error) {
	n, err := s.Buffer.Write(b)
	if strings.Contains(s.String(), s.text) {
		s.once.Do(func() { close(s.is) })
	}
	return n, err
}

// TestClientGone ends a command whose client goes.
func TestClientGone(t *testing.T) {
	// A shell cannot trap a signal that it was started to ignore, as nohup(1) does. What
	// is caught here, children have by default.
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	file := filepath.Join(t.TempDir(), "hung-up")
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	go func() {
		b := make([]byte, 6)
		io.ReadFull(r, b)
		cancel()
	}()
	_, err := trusted(t, newFakeNode()).Exec(ctx, Command{Argv: []string{"sh", "-c",
		"trap 'touch " + file + "; exit' HUP; echo ready; while :; do sleep 0.01; done"}},
		Streams{Stdout: w, Stderr: io.Discard})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	for end := time.Now().Add(within); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(file); err == nil {
			return
		} else if !errors.Is(err, fs.ErrNotExist) || time.Now().After(end) {
			t.Fatal("the command was not told")
		}
	}
}

func TestLogsAndAttach(t *testing.T) {
	n := newFakeNode()
	for i := range 5 {
		fmt.Fprintf(n.log.Writer(host.Stdout), "line %d\n", i)
	}
	io.WriteString(n.log.Writer(host.Stderr), "an error\nno end")
	logs := func(lines int) string {
		t.Helper()
		var out bytes.Buffer
		if err := trusted(t, n).Logs(t.Context(), lines, false,
			Streams{Stdout: &out, Stderr: &out}); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	all := "line 0\nline 1\nline 2\nline 3\nline 4\nan error\nno end"
	for lines, want := range map[int]string{-1: all, 100: all, 0: "", 1: "no end",
		2: "an error\nno end", 3: "line 4\nan error\nno end"} {
		if got := logs(lines); got != want {
			t.Errorf("the last %d lines: %q, want %q", lines, got, want)
		}
	}
	var out bytes.Buffer
	signals := make(chan os.Signal, 1)
	signals <- syscall.SIGTERM
	result, err := trusted(t, n).Attach(t.Context(), 1,
		Streams{Stdout: &out, Stderr: &out,
			Signals: signals})
	if err != nil || result.Code != 143 || out.String() != "no end" {
		t.Errorf("%+v, %v, %q", result, err, &out)
	}
}

// TestLogKeepsTheEnd writes more than a log keeps.
func TestLogKeepsTheEnd(t *testing.T) {
	n := newFakeNode()
	n.log = NewLog(10_000)
	for i := range 10_000 {
		fmt.Fprintf(n.log.Writer(host.Stdout), "%04d\n", i)
	}
	var out bytes.Buffer
	if err := trusted(t, n).Logs(t.Context(), -1, false,
		Streams{Stdout: &out, Stderr: &out}); err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(out.String(), "9998\n9999\n") || out.Len() < 10_000 ||
		out.Len() > 10_000+2*chunkSize {
		t.Errorf("%d bytes, %q", out.Len(), &out)
	}
}

func TestStop(t *testing.T) {
	n := newFakeNode()
	if result, err := trusted(t, n).Stop(t.Context(), within); err != nil ||
		result.Code != 143 {
		t.Errorf("%+v, %v", result, err)
	}
	n = newFakeNode()
	n.dies = syscall.SIGKILL // it does not care for SIGTERM
	if result, err := trusted(t, n).Stop(t.Context(), time.Millisecond); err != nil ||
		result.Code != 137 {
		t.Errorf("%+v, %v", result, err)
	}
	n = newFakeNode()
	if err := trusted(t, n).SetListed(t.Context(), false); err != nil ||
		len(n.listed) != 1 {
		t.Errorf("%v, %v", err, n.listed)
	}
	if err := trusted(t, n).Signal(t.Context(), syscall.SIGHUP); err != nil ||
		n.signals[0] != syscall.SIGHUP {
		t.Errorf("%v, %v", err, n.signals)
	}
}

// TestKey makes a key once, and refuses one that others may read.
func TestKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dir", "owner.key")
	t.Setenv("BOXER_OWNER_KEY", path)
	if _, err := Key(false); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	first, err := Key(true)
	if err != nil {
		t.Fatal(err)
	}
	second, err := Key(true)
	if err != nil || !first.Equal(second) {
		t.Errorf("another key: %v", err)
	}
	owner := first.Public().(Owner)
	if got, err := ParseOwner(FormatOwner(owner)); err != nil || !got.Equal(owner) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseOwner("nonsense"); err == nil {
		t.Error("nonsense is no owner")
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := Key(true); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("got %v", err)
	}
}
