package launcher

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/linux"
)

// TestExec runs commands in a node: they are parts of it, and have its localhost.
func TestExec(t *testing.T) {
	url := startCoordinator(t)
	for _, kind := range kinds(t) {
		t.Run(string(kind), func(t *testing.T) {
			n := startNode(t, url, "serve", func(c *RunConfig) {
				c.Interposer, c.Name = kind, "server"
			})
			run := func(argv ...string) (string, int) {
				t.Helper()
				r, w := pipe(t)
				e, err := n.Exec(t.Context(), ExecConfig{Argv: argv, Stdout: w, Stderr: w,
					Env: []string{"ADDED=yes"}, Dir: "/tmp"})
				w.Close()
				if err != nil {
					t.Fatal(err)
				}
				r.SetReadDeadline(time.Now().Add(within))
				out, err := io.ReadAll(r)
				if err != nil {
					t.Error(err)
				}
				return string(out), e.Wait()
			}
			if out, code := run("sh", "-c", "echo $ADDED; pwd; hostname; exit 7"); code != 7 ||
				out != "yes\n/tmp\nserver\n" {
				t.Errorf("%q, status %d", out, code)
			}
			for range 3 { // one after the other, each with a filter of its own
				out, code := run("bash", "-c",
					`exec 3<>/dev/tcp/127.0.0.1/80; echo hello >&3; read -r l <&3; echo $l`)
				if code != 0 || out != "hello\n" {
					t.Errorf("%q, status %d", out, code)
				}
			}
			for argv0, want := range map[string]int{"no-such-command": ExitNotFound,
				"/etc": ExitNotExecutable} {
				_, err := n.Exec(t.Context(), ExecConfig{Argv: []string{argv0}})
				var exit *ExitError
				if !errors.As(err, &exit) || exit.Code != want {
					t.Errorf("%s: %v", argv0, err)
				}
			}
			e, err := n.Exec(t.Context(), ExecConfig{Argv: []string{"sleep", "1000"}})
			if err != nil {
				t.Fatal(err)
			}
			if err := e.Signal(unix.SIGTERM); err != nil {
				t.Error(err)
			}
			if code := e.Wait(); code != exitSignal+int(unix.SIGTERM) {
				t.Errorf("status %d after SIGTERM", code)
			}
			if err := e.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Signal after the end: %v", err)
			}
			// It ends with the program.
			e, err = n.Exec(t.Context(), ExecConfig{Argv: []string{"sleep", "1000"}})
			if err != nil {
				t.Fatal(err)
			}
			n.Close()
			if code := e.Wait(); code == 0 {
				t.Errorf("status %d at the end of the program", code)
			}
			if _, err := n.Exec(t.Context(), ExecConfig{Argv: []string{"true"}}); !errors.Is(err,
				os.ErrProcessDone) {
				t.Errorf("Exec after the end: %v", err)
			}
		})
	}
}

// TestExecMany runs commands at once.
func TestExecMany(t *testing.T) {
	url := startCoordinator(t)
	for _, kind := range kinds(t) {
		t.Run(string(kind), func(t *testing.T) {
			n := startNode(t, url, "wait", func(c *RunConfig) { c.Interposer = kind })
			ended := make(chan string, 16)
			for i := range cap(ended) {
				go func() {
					e, err := n.Exec(t.Context(), ExecConfig{Argv: []string{"sh", "-c",
						"exit " + string(rune('0'+i%10))}})
					if err != nil {
						ended <- err.Error()
						return
					}
					if code := e.Wait(); code != i%10 {
						ended <- "another status"
						return
					}
					ended <- ""
				}()
			}
			for range cap(ended) {
				if s := <-ended; s != "" {
					t.Error(s)
				}
			}
		})
	}
}

// TestExecCanceled starts commands for callers that do not wait any more, and that close
// the streams at once. The commands end, and others start afterwards.
func TestExecCanceled(t *testing.T) {
	url := startCoordinator(t)
	for _, kind := range kinds(t) {
		t.Run(string(kind), func(t *testing.T) {
			n := startNode(t, url, "wait", func(c *RunConfig) { c.Interposer = kind })
			all := &n.c.executions
			for range 10 {
				ctx, cancel := context.WithCancel(t.Context())
				go func() { // cancels once the command is noted, and has not started yet
					defer cancel()
					for noted := false; !noted && t.Context().Err() == nil; {
						all.mu.Lock()
						noted = len(all.byID) > 0
						all.mu.Unlock()
						runtime.Gosched()
					}
				}()
				r, w := pipe(t)
				e, err := n.Exec(ctx, ExecConfig{Argv: []string{"sleep", "1000"}, Stdout: w})
				w.Close()
				if err == nil { // it has started before
					err = errors.Join(context.Canceled, e.Signal(unix.SIGKILL))
				}
				if !errors.Is(err, context.Canceled) {
					t.Fatalf("Exec: %v", err)
				}
				r.SetReadDeadline(time.Now().Add(within / 2))
				if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
					t.Fatalf("the command holds its output: %v", err)
				}
				await(t, func() bool {
					all.mu.Lock()
					defer all.mu.Unlock()
					return len(all.byID) == 0
				})
			}
			e, err := n.Exec(t.Context(), ExecConfig{Argv: []string{"true"}})
			if err != nil {
				t.Fatal(err)
			}
			if code := e.Wait(); code != 0 {
				t.Errorf("status %d", code)
			}
		})
	}
}

// TestExecDescriptors runs commands one after the other. None of them leaves descriptors
// in the supervisor, which is this process.
func TestExecDescriptors(t *testing.T) {
	url := startCoordinator(t)
	for _, kind := range kinds(t) {
		t.Run(string(kind), func(t *testing.T) {
			n := startNode(t, url, "serve", func(c *RunConfig) { c.Interposer = kind })
			run := func() {
				t.Helper()
				e, err := n.Exec(t.Context(), ExecConfig{Argv: []string{"bash", "-c",
					`exec 3<>/dev/tcp/127.0.0.1/80; echo hello >&3; read -r l <&3`}})
				if err != nil {
					t.Fatal(err)
				}
				if code := e.Wait(); code != 0 {
					t.Fatalf("status %d", code)
				}
			}
			run() // what the first one opens may be for all
			count := func() int { return openFDs(t) }
			if kind == InterposerRewrite { // which has one cache of pidfds for all
				count = func() int { return openFDs(t) - pidfds(t) }
			}
			before := count()
			const commands = 12
			for range commands {
				run()
			}
			await(t, func() bool { return count() < before+commands/2 })
		})
	}
}

// pidfds returns how many of this process's descriptors are pidfds.
func pidfds(t *testing.T) (n int) {
	t.Helper()
	links, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, link := range links {
		if to, err := os.Readlink(link); err == nil && strings.Contains(to, "pidfd") {
			n++
		}
	}
	return n
}

// TestExecTerminal gives a command a terminal.
func TestExecTerminal(t *testing.T) {
	n := startNode(t, startCoordinator(t), "wait", nil)
	ours, theirs, err := linux.OpenTerminal()
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	e, err := n.Exec(t.Context(), ExecConfig{Argv: []string{"sh", "-c",
		"tty; read line; echo got $line; exec sleep 1000"}, Stdin: theirs, Stdout: theirs,
		Stderr: theirs, Terminal: true})
	theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	ours.SetDeadline(time.Now().Add(within))
	expect := func(text string) {
		t.Helper()
		var got strings.Builder
		b := make([]byte, 1)
		for !strings.Contains(got.String(), text) {
			if _, err := ours.Read(b); err != nil {
				t.Fatalf("%q: %v, want %q", &got, err, text)
			}
			got.WriteByte(b[0])
		}
	}
	expect("/dev/pts/")
	ours.WriteString("a line\n")
	expect("got a line")
	ours.WriteString("\x03") // ^C
	if code := e.Wait(); code != exitSignal+int(unix.SIGINT) {
		t.Errorf("status %d after ^C", code)
	}
}
