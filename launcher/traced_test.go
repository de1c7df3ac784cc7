package launcher

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/trace"
)

// A closingBuffer is what a trace is written to.
type closingBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (c *closingBuffer) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.Write(p)
}

func (c *closingBuffer) Close() error { return nil }

func (c *closingBuffer) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.b.String()
}

// mentions reports an error for each text that a trace does not have.
func mentions(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in the trace:\n%s", w, text)
		}
	}
}

// runtimeDir gives the test's nodes a directory of their own for their control sockets.
func runtimeDir(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "bx") // short, as names of Unix sockets have to be
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	t.Setenv("XDG_RUNTIME_DIR", dir)
}

// TestTraceFromStart traces a program from its start, by both ways to take calls.
func TestTraceFromStart(t *testing.T) {
	runtimeDir(t)
	url := startCoordinator(t)
	startNode(t, url, "serve", func(c *RunConfig) { c.Name = "server" })
	selection, err := ParseSelection("network,process")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range kinds(t) {
		t.Run(string(kind), func(t *testing.T) {
			var out closingBuffer
			sink := trace.NewSink(&out, 0)
			n := startNode(t, url, "call", func(c *RunConfig) {
				c.Interposer = kind
				c.Trace = &Trace{Sink: sink, Bytes: 64, FDs: true, Select: selection}
			})
			if got := n.echo("traced"); got != "traced" {
				t.Errorf("the server sends back %q", got)
			}
			n.in.Close()
			if code, err := n.Wait(); code != 0 || err != nil {
				t.Errorf("%d, %v", code, err)
			}
			if err := sink.Close(within); err != nil {
				t.Error(err)
			}
			mentions(t, out.String(), `"connect"`, `"server"`, `"exit"`,
				"the program has ended with status 0")
		})
	}
}

// TestAttach attaches to a node that runs, by its name and by a process, and asks what it
// is.
func TestAttach(t *testing.T) {
	runtimeDir(t)
	url := startCoordinator(t)
	server := startNode(t, url, "serve", func(c *RunConfig) { c.Name = "server" })
	selection, err := ParseSelection("network")
	if err != nil {
		t.Fatal(err)
	}
	a, err := Attach("server", 0, Trace{Bytes: 64, Select: selection})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if a.Name != "server" || a.PID != server.Status().PID || a.Process != 0 || a.Trapped {
		t.Errorf("attached to %+v", a)
	}
	var out closingBuffer
	var copied sync.WaitGroup
	copied.Go(func() { io.Copy(&out, a) })
	client := startNode(t, url, "call", nil)
	client.echo("seen")
	client.Close()
	await(t, func() bool { return strings.Contains(out.String(), `"call"`) })
	if err := a.Detach(); err != nil {
		t.Error(err)
	}
	copied.Wait()
	for _, pid := range []int{server.Status().PID, server.c.init} {
		b, err := Attach("", pid, Trace{Select: selection})
		if err != nil {
			t.Errorf("attach to process %d: %v", pid, err)
			continue
		}
		if b.Name != "server" {
			t.Errorf("process %d is of node %q", pid, b.Name)
		}
		b.Close()
	}
	for name, pid := range map[string]int{"nobody": 0, "": os.Getppid()} {
		if _, err := Attach(name, pid, Trace{}); !errors.Is(err, ErrNotRunning) {
			t.Errorf("attach to %q, process %d: %v", name, pid, err)
		}
	}
}

// TestEnclosing asks from inside of a node which node that is.
func TestEnclosing(t *testing.T) {
	runtimeDir(t)
	n := startNode(t, startCoordinator(t), "inside", nil)
	if got, want := n.line(), "already inside boxer run (node inside)"; got != want {
		t.Errorf("the program says %q, want %q", got, want)
	}
	if got := n.line(); got != "1 members" {
		t.Errorf("the program says %q", got)
	}
	if FindEnclosing() != nil {
		t.Error("this process is inside of a node")
	}
}

// TestForwardToNode forwards connections of this host to a node, by name and by address.
func TestForwardToNode(t *testing.T) {
	url := startCoordinator(t)
	n := startNode(t, url, "serve", func(c *RunConfig) { c.Name = "server" })
	for _, name := range []string{"server", n.Status().Addr.String()} {
		ctx, cancel := context.WithCancel(t.Context())
		ready := make(chan net.Addr, 1)
		ended := make(chan error, 1)
		go func() {
			ended <- Forward(ctx, ForwardConfig{Listen: "127.0.0.1:0", Name: name, Port: 80,
				Join: url, Ready: func(a net.Addr) { ready <- a }, Logger: silent()})
		}()
		c, err := net.Dial("tcp", (<-ready).String())
		if err != nil {
			t.Fatal(err)
		}
		c.SetDeadline(time.Now().Add(within))
		io.WriteString(c, "forwarded")
		b := make([]byte, len("forwarded"))
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "forwarded" {
			t.Errorf("%s: got %q, %v", name, b, err)
		}
		c.Close()
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"nobody", "192.0.2.1"} {
		err := Forward(t.Context(), ForwardConfig{Listen: "127.0.0.1:0", Name: name,
			Port: 80, Join: url, Logger: silent()})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("forward to %s: %v", name, err)
		}
	}
}

// TestDiagnose finds what nodes need here, as they run here.
func TestDiagnose(t *testing.T) {
	url := startCoordinator(t)
	found := Diagnose(t.Context(), &url)
	if len(found) < 10 {
		t.Errorf("%d findings", len(found))
	}
	for _, f := range found {
		if f.Name == "" || f.Detail == "" && !f.OK || f.Needed && !f.OK &&
			f.Name != "interposer" { // which runs boxer version
			t.Errorf("%+v", f)
		}
	}
	url.Host = "127.0.0.1:1"
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	lost := diagnoseNetwork(ctx, url)
	if len(lost) != 1 || lost[0].OK || lost[0].Detail == "" {
		t.Errorf("without a coordinator: %+v", lost)
	}
}

// TestRemedy names what to do about a coordinator that does not answer.
func TestRemedy(t *testing.T) {
	unreachable := func(err error) error {
		return fmt.Errorf("%w: %w", coordinator.ErrUnreachable, err)
	}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{coordinator.ErrPin, "use the join URL"},
		{unreachable(&net.DNSError{}), "name servers"},
		{unreachable(unix.ECONNREFUSED), "start the coordinator at db:1"},
		{unreachable(unix.ENETUNREACH), "a route to db:1"},
		{unreachable(context.DeadlineExceeded), "outgoing UDP to db:1"},
	} {
		if got := remedyOf(tc.err, "db:1"); !strings.Contains(got, tc.want) {
			t.Errorf("%v: %q, want %q in it", tc.err, got, tc.want)
		}
	}
}

// TestAbilitiesDiffer tells what a program lacks by each way to take calls.
func TestAbilitiesDiffer(t *testing.T) {
	for kind, want := range map[InterposerKind]string{
		InterposerSeccomp: "paths below /proc", InterposerRewrite: "32-bit programs",
	} {
		got := diagnoseAbilities(kind)
		if len(got) == 0 || got[0].Name != want || got[0].OK || got[0].Needed ||
			got[0].Remedy == "" {
			t.Errorf("%s lacks %+v, want %s first", kind, got, want)
		}
	}
}

// TestSites lists the system calls of a file, and says why another has none.
func TestSites(t *testing.T) {
	sites, err := Sites("/bin/true")
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range sites {
		if s.Addr == 0 || s.Way == "" || s.OK != (s.Why == "") {
			t.Errorf("%+v", s)
		}
	}
	for _, path := range []string{"/etc/passwd", "/", "/nonexistent/file"} {
		if _, err := Sites(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}
