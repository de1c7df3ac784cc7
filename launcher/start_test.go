package launcher

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// A testNode is a program of testPrograms that runs as a node.
type testNode struct {
	*Program
	t   *testing.T
	in  *os.File
	out *bufio.Reader
}

// startNode starts a program of testPrograms. It is closed when the test ends.
func startNode(t *testing.T, url coordinator.JoinURL, program string,
	change func(*RunConfig)) *testNode {
	t.Helper()
	inR, inW := pipe(t)
	outR, outW := pipe(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := RunConfig{Argv: []string{self}, Join: url, Name: program,
		Env:   append(os.Environ(), testProgram+"="+program),
		Stdin: inR, Stdout: outW, Stderr: os.Stderr, Drain: -1}
	if change != nil {
		change(&cfg)
	}
	p, err := Start(t.Context(), cfg)
	inR.Close()
	outW.Close()
	if err != nil {
		t.Fatal(err)
	}
	hangs := time.AfterFunc(within, func() { p.Close() })
	t.Cleanup(func() {
		if !hangs.Stop() {
			t.Error("the node was closed as its test took too long")
		}
		p.Close()
	})
	n := &testNode{p, t, inW, bufio.NewReader(outR)}
	outR.SetReadDeadline(time.Now().Add(within))
	if got := n.line(); got != "ready" {
		t.Fatalf("%s says %q", program, got)
	}
	return n
}

func pipe(t *testing.T) (r, w *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	return r, w
}

// line returns the next line that the program prints.
func (n *testNode) line() string {
	n.t.Helper()
	text, err := n.out.ReadString('\n')
	if err != nil {
		n.t.Fatalf("%q, %v", text, err)
	}
	return strings.TrimSuffix(text, "\n")
}

// echo sends a line to the server and returns what comes back.
func (n *testNode) echo(text string) string {
	n.t.Helper()
	if _, err := n.in.WriteString(text + "\n"); err != nil {
		n.t.Fatal(err)
	}
	return n.line()
}

// kinds are the ways to take calls that this host allows.
func kinds(t *testing.T) []InterposerKind {
	if k, _ := InterposerAuto.choose(); k == InterposerRewrite {
		t.Log("no filters here: only rewriting is tested")
		return []InterposerKind{InterposerRewrite}
	}
	return []InterposerKind{InterposerSeccomp, InterposerRewrite}
}

// TestTwoNodes runs two nodes in this process, which talk. It has no effect on the
// process, and nothing of the nodes is left in it.
func TestTwoNodes(t *testing.T) {
	url := startCoordinator(t)
	for _, kind := range kinds(t) {
		t.Run(string(kind), func(t *testing.T) {
			before := effectsSeen(t)
			with := func(c *RunConfig) {
				c.Interposer = kind
				c.Name = map[string]string{"serve": "server", "call": "client"}[c.Name]
			}
			server := startNode(t, url, "serve", with)
			client := startNode(t, url, "call", with)
			if got := client.echo("over loopback"); got != "over loopback" {
				t.Errorf("the server sends back %q", got)
			}
			a, b := server.Status(), client.Status()
			if a.Name != "server" || b.Name != "client" || a.Addr == b.Addr ||
				!slices.Equal(a.Ports, []uint16{80}) || a.PID == b.PID || a.Ended {
				t.Errorf("status %+v and %+v", a, b)
			}
			client.in.Close()
			if code, err := client.Wait(); code != 0 || err != nil {
				t.Errorf("client: %d, %v", code, err)
			}
			if err := server.Close(); err != nil {
				t.Error(err)
			}
			if code, err := server.Wait(); code != exitSignal+int(unix.SIGKILL) || err != nil {
				t.Errorf("server: %d, %v; want 137", code, err)
			}
			if err := server.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Signal after the end: %v", err)
			}
			if err := server.Suspend(); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Suspend after the end: %v", err)
			}
			if s := server.Status(); !s.Ended || s.Name != "server" {
				t.Errorf("status %+v after the end", s)
			}
			if after := effectsSeen(t); after != before {
				t.Errorf("this process has changed from %s to %s", before, after)
			}
		})
	}
}

// effectsSeen describes what a node could have changed of this process.
func effectsSeen(t *testing.T) string {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join([]string{lineOf(string(status), "SigCgt:"),
		lineOf(string(status), "SigIgn:"), lineOf(string(status), "NoNewPrivs:"),
		lineOf(string(status), "Seccomp:"), strings.Join(os.Args, " "),
		strconv.Itoa(runtime.GOMAXPROCS(0)), strconv.FormatBool(adopts(t))}, " ")
}

// adopts reports whether orphans below this process become its children.
func adopts(t *testing.T) bool {
	t.Helper()
	out, err := exec.Command("sh", "-c", "sleep 60 >/dev/null 2>&1 & echo $!").Output()
	if err != nil {
		t.Fatal(err)
	}
	orphan, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Kill(orphan, unix.SIGKILL)
	return parentOf(orphan) == os.Getpid()
}

// TestNothingLeft looks for goroutines, descriptors and children after nodes have ended
// in each way.
func TestNothingLeft(t *testing.T) {
	url := startCoordinator(t)
	for name, end := range map[string]func(*testing.T, *testNode){
		"by itself": func(t *testing.T, n *testNode) { n.in.Close(); n.Wait() },
		"by Close":  func(t *testing.T, n *testNode) { n.Close() },
		"by a signal": func(t *testing.T, n *testNode) {
			if err := n.Signal(unix.SIGTERM); err != nil {
				t.Error(err)
			}
			if code, err := n.Wait(); code != exitSignal+int(unix.SIGTERM) || err != nil {
				t.Errorf("%d, %v", code, err)
			}
		},
		"by boxer-init's death": func(t *testing.T, n *testNode) {
			unix.Kill(n.c.init, unix.SIGKILL)
			if code, _ := n.Wait(); code != exitSignal+int(unix.SIGKILL) {
				t.Errorf("status %d", code)
			}
		},
	} {
		for _, kind := range kinds(t) {
			t.Run(name+", "+string(kind), func(t *testing.T) {
				goroutines, fds := ours(), openFDs(t)
				n := startNode(t, url, "wait", func(c *RunConfig) { c.Interposer = kind })
				end(t, n)
				await(t, func() bool { return len(ours()) <= len(goroutines) })
				if left := children(os.Getpid()); len(left) > 0 {
					t.Errorf("children are left: %v", left)
				}
				const pipes = 2 // startNode's, that the test holds
				if got := openFDs(t); got > fds+pipes {
					t.Errorf("%d descriptors, %d before", got, fds)
				}
			})
		}
	}
}

// ours returns the goroutines of this process that run code of boxer's.
func ours() (stacks []string) {
	b := make([]byte, 1<<20)
	b = b[:runtime.Stack(b, true)]
	for s := range strings.SplitSeq(string(b), "\n\n") {
		if strings.Contains(s, "boxer-sandbox/boxer/") && !strings.Contains(s, "testing.tRunner") {
			stacks = append(stacks, s)
		}
	}
	return stacks
}

func openFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestSignalHandled sends a signal that the program handles.
func TestSignalHandled(t *testing.T) {
	n := startNode(t, startCoordinator(t), "term", nil)
	if err := n.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code, err := n.Wait(); code != 3 || err != nil {
		t.Errorf("%d, %v; want 3", code, err)
	}
	select {
	case <-n.Done():
	default:
		t.Error("Done is not closed after Wait")
	}
}

// TestCannotStart starts what cannot be executed.
func TestCannotStart(t *testing.T) {
	url := startCoordinator(t)
	for argv0, want := range map[string]int{"no-such-command": ExitNotFound,
		"/etc": ExitNotExecutable, "/etc/passwd": ExitNotExecutable} {
		for _, kind := range kinds(t) {
			code, err := Run(t.Context(), RunConfig{Argv: []string{argv0}, Join: url,
				Interposer: kind})
			var exit *ExitError
			if code != want || !errors.As(err, &exit) {
				t.Errorf("%s, %s: %d, %v; want %d", argv0, kind, code, err, want)
			}
		}
	}
	if left := children(os.Getpid()); len(left) > 0 {
		t.Errorf("children are left: %v", left)
	}
	if _, err := Run(t.Context(), RunConfig{Argv: []string{"true"}, Join: url,
		Executable: filepath.Join(t.TempDir(), "none")}); !errors.Is(err, unix.ENOENT) {
		t.Errorf("without an executable for boxer-init: %v", err)
	}
}

// TestOneWithEffects starts a second node with effects on this process.
func TestOneWithEffects(t *testing.T) {
	url := startCoordinator(t)
	first := startNode(t, url, "wait", func(c *RunConfig) {
		c.Effects = Effects{Processors: true}
	})
	second := RunConfig{Argv: []string{"true"}, Join: url, Effects: Effects{Reaper: true}}
	if _, err := Start(t.Context(), second); !errors.Is(err, errEffects) {
		t.Errorf("a second node with effects: %v", err)
	}
	first.Close()
	if code, err := Run(t.Context(), second); code != 0 || err != nil {
		t.Errorf("after the first one's end: %d, %v", code, err)
	}
}

// A fakeInterposer starts a program without a filter.
type fakeInterposer struct {
	serve func() error
	start error
}

func (f *fakeInterposer) Abilities() syscalls.Abilities { return syscalls.Abilities{} }

func (f *fakeInterposer) Start(c *child, req startRequest) error {
	if f.start != nil {
		return c.failed(f.start)
	}
	program, err := os.Open("/bin/cat")
	if err != nil {
		return c.failed(err)
	}
	defer program.Close()
	req.Loader = true
	return c.start(req, int(program.Fd()), nil)
}

func (f *fakeInterposer) Exec(*child, *starting) error { return errors.ErrUnsupported }

func (f *fakeInterposer) Serve(func(syscalls.Call)) error { return f.serve() }
func (f *fakeInterposer) Close() error                    { return nil }

// TestInterposerFails lets an Interposer fail at its start, and while the program runs.
func TestInterposerFails(t *testing.T) {
	url := startCoordinator(t)
	in, _ := pipe(t)
	broken := errors.New("broken")
	for name, fake := range map[string]*fakeInterposer{
		"start": {start: broken, serve: func() error { return nil }},
		"serve": {serve: func() error { return broken }},
	} {
		t.Run(name, func(t *testing.T) {
			code, err := Run(t.Context(), RunConfig{Argv: []string{"cat"}, Join: url, Stdin: in,
				interposer: func([]syscalls.Entry, namespaces) (Interposer, error) {
					return fake, nil
				}})
			if code == 0 || !errors.Is(err, broken) {
				t.Errorf("%d, %v; want %v", code, err, broken)
			}
			if left := children(os.Getpid()); len(left) > 0 {
				t.Errorf("children are left: %v", left)
			}
		})
	}
	none := errors.New("none")
	if _, err := Run(t.Context(), RunConfig{Argv: []string{"cat"}, Join: url,
		interposer: func([]syscalls.Entry, namespaces) (Interposer, error) {
			return nil, none
		}}); !errors.Is(err, none) {
		t.Errorf("without an interposer: %v", err)
	}
}

// TestSuspend suspends a node, and looks at it from the other end of a connection.
func TestSuspend(t *testing.T) {
	url := startCoordinator(t)
	n := startNode(t, url, "serve", func(c *RunConfig) { c.Name = "server" })
	// A member without aliases is no neighbour: all goes over the node's socket.
	far := joinAs(t, url, "far", nil, func(s *transport.Stream) {
		s.Answer(transport.StatusRefused)
	})
	self := far.m.client.Self()
	await(t, func() bool { return far.m.client.Count("server") > 0 })
	s, err := far.Dial(t.Context(), syscalls.Opening{
		Source:      netip.AddrPortFrom(self.Addr, 40000),
		Destination: netip.AddrPortFrom(n.Status().Addr, 80)})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Reset()
	echo := func(text string) {
		t.Helper()
		b := make([]byte, len(text))
		if _, err := io.ReadFull(s, b); err != nil || string(b) != text {
			t.Errorf("got %q, %v; want %q", b, err, text)
		}
	}
	io.WriteString(s, "awake")
	echo("awake")
	if err := n.Suspend(); err != nil || !n.Status().Suspended {
		t.Errorf("Suspend: %v, %+v", err, n.Status())
	}
	io.WriteString(s, "asleep")
	// The program has answered, as its relay has sent on.
	relayed := func() (sent uint64) {
		for _, p := range n.Status().Paths {
			sent += p.BytesSent
		}
		return sent
	}
	before := relayed()
	await(t, func() bool { return relayed() > before })
	if got := far.m.node.Paths()[0].Connected; !got {
		t.Error("the connection has ended")
	}
	if err := n.Resume(); err != nil || n.Status().Suspended {
		t.Errorf("Resume: %v, %+v", err, n.Status())
	}
	echo("asleep")
}

// TestPublished connects to a program through a port of the host.
func TestPublished(t *testing.T) {
	n := startNode(t, startCoordinator(t), "serve", func(c *RunConfig) {
		c.Publish = []Publish{{Listen: "127.0.0.1:0", Port: 80}}
	})
	c, err := net.Dial("tcp", n.n.ports[0].l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(within))
	io.WriteString(c, "published\n")
	if got, err := bufio.NewReader(c).ReadString('\n'); got != "published\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}
