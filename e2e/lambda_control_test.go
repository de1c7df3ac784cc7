package e2e

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestLambdaControl controls programs in functions from the desk: with the owner's key,
// and without.
func TestLambdaControl(t *testing.T) {
	natlab.NeedCommands(t, "redis-server", "redis-cli")
	r := newRegion(t)
	r.deploy("fn")
	server := r.start("run", "--on", "lambda:fn", "--name", "kv", "--ready-when", "6379", "--",
		"redis-server", "--bind", "0.0.0.0", "--protected-mode", "no", "--save", "",
		"--dir", "/tmp")
	server.Expect("Ready to accept connections")

	t.Run("ps", func(t *testing.T) {
		r := r.with(t)
		status, stdout, stderr := r.boxer("ps")
		if status != 0 || !strings.Contains(stdout, "lambda:fn  redis-server") ||
			!strings.Contains(stdout, "$0.0000") {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
	})
	t.Run("exec", func(t *testing.T) {
		r := r.with(t)
		status, stdout, stderr := r.boxer("exec", "kv", "--", "redis-cli", "-h", "localhost",
			"ping")
		if status != 0 || stdout != "PONG\n" {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
		status, _, stderr = r.boxer("exec", "kv", "--", "nosuchprogram")
		if status != 127 || !strings.Contains(stderr, "not found") {
			t.Errorf("status %d, %q", status, stderr)
		}
	})
	t.Run("logs", func(t *testing.T) {
		r := r.with(t)
		status, stdout, stderr := r.boxer("logs", "kv")
		if status != 0 || !strings.Contains(stdout, "Ready to accept connections") {
			t.Errorf("status %d, %q, %q", status, stdout, stderr)
		}
	})
	t.Run("somebody else", func(t *testing.T) {
		r := r.with(t)
		r.home = tempDir(t)
		for _, args := range [][]string{{"logs", "kv"}, {"stop", "kv"},
			{"exec", "kv", "--", "true"}} {
			status, _, stderr := r.boxer(args...)
			if status != 125 || !strings.Contains(stderr, "owner") {
				t.Errorf("%q: status %d, %q", args, status, stderr)
			}
		}
		r.boxer("owner") // makes a key
		status, _, stderr := r.boxer("stop", "kv")
		if status != 125 || !strings.Contains(stderr, "belongs to somebody else") {
			t.Errorf("with another key: status %d, %q", status, stderr)
		}
	})
	t.Run("stop", func(t *testing.T) {
		r := r.with(t)
		if status, _, stderr := r.boxer("stop", "kv"); status != 0 {
			t.Errorf("status %d, %q", status, stderr)
		}
		if status := server.Wait(proctest.Patience); status != 0 {
			t.Errorf("redis-server ends with %d: %s", status, server.Err.Tail())
		}
	})
}

// TestLambdaAttach kills a launcher whose program is to go on, and attaches to it.
func TestLambdaAttach(t *testing.T) {
	r := newRegion(t)
	r.deploy("fn")
	p := r.start("run", "--on", "lambda:fn", "--name", "job", "--on-disconnect", "keep", "--",
		"sh", "-c", "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.1; done")
	p.Expect("^ready$")
	p.Signal(unix.SIGKILL)
	p.Wait(proctest.Patience)
	a := r.start("attach", "--lines", "-1", "job")
	a.Expect("^ready$")
	a.Signal(unix.SIGTERM)
	if status := a.Wait(proctest.Patience); status != 9 ||
		!strings.Contains(a.Out.String(), "caught") {
		t.Errorf("status %d, %q, %s", status, a.Out.String(), a.Err.Tail())
	}
	if all := r.idle("fn"); all != 1 {
		t.Errorf("%d environments", all)
	}
}

// TestLambdaDetached runs a program in a function, with its launcher in the background.
func TestLambdaDetached(t *testing.T) {
	r := newRegion(t)
	r.deploy("fn")
	status, stdout, stderr := r.boxer("run", "--detach", "--on", "lambda:fn", "--name", "job",
		"--", "sh", "-c", "echo ready; exec sleep 1000")
	if status != 0 || !strings.HasPrefix(stdout, "node-") {
		t.Fatalf("status %d, %q, %q", status, stdout, stderr)
	}
	logs := r.start("logs", "-f", "job")
	logs.Expect("^ready$")
	if status, _, stderr := r.boxer("stop", strings.TrimSpace(stdout)); status != 0 {
		t.Errorf("stop: status %d, %q", status, stderr)
	}
	if status := logs.Wait(proctest.Patience); status != 0 {
		t.Errorf("logs: status %d, %s", status, logs.Err.Tail())
	}
	status, _, stderr = r.boxer("run", "--detach", "--on", "lambda:nosuch", "--", "true")
	if status == 0 || !strings.Contains(stderr, "ResourceNotFoundException") {
		t.Errorf("no such function: status %d, %q", status, stderr)
	}
}
