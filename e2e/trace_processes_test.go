package e2e

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
	"github.com/boxer-sandbox/boxer/trace"
)

// events reads a recorded trace.
func events(t *testing.T, file string) (all []trace.Event) {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := trace.NewReader(f)
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
}

// TestTraceProcesses traces a shell that starts programs, one of which connects, and
// which ends in a way of its own: the trace says which process did what, and how each has
// ended.
func TestTraceProcesses(t *testing.T) {
	needBoxer(t)
	natlab.NeedCommands(t, "curl")
	db, app := pair(t, "db", "app")
	db.start("/usr/bin/python3", "-u", "-m", "http.server", "80")
	app.reach("db:80")
	file := filepath.Join(tempDir(t), "trace.jsonl")
	app.flags = []string{"--trace", file}
	p := app.start("sh", "-c", `
curl -sS -o /dev/null http://db/; (exit 3); true
sleep 9 & until read -r comm </proc/$!/comm && [ "$comm" = sleep ]; do :; done; kill -9 $!; wait $!; exit 7`)
	if status := p.Wait(20 * time.Second); status != 7 {
		t.Fatalf("status %d: %s", status, p.Err.Tail())
	}
	ended := make(map[string][]string) // by exe, or "" for a child that has none
	exe, started := make(map[int]string), make(map[int]int)
	var last time.Duration
	var connections, out int
	for _, e := range events(t, file) {
		switch e := e.(type) {
		case *trace.Process:
			switch e.What {
			case "start":
				started[e.PID]++
			case "exec":
				exe[e.PID] = filepath.Base(e.Exe)
			case "exit":
				ended[exe[e.PID]] = append(ended[exe[e.PID]], e.Status)
			}
		case *trace.Connection:
			connections++
			if e.Comm != "curl" || exe[e.PID] != "curl" {
				t.Errorf("%s: the connection is of process %d, %q", e.State, e.PID, e.Comm)
			}
		case *trace.Call:
			if e.Phase == trace.Exit {
				continue
			}
			if e.Time < last {
				out++
			}
			last = e.Time
		case *trace.End:
			if e.Reason != "the program has ended with status 7" {
				t.Errorf("end: %q", e.Reason)
			}
		}
	}
	for name, want := range map[string]string{"curl": "0", "": "3", "sh": "7",
		"sleep": "SIGKILL"} {
		// Kernels before 6.15 do not tell of a signal.
		if got := ended[name]; !slices.Equal(got, []string{want}) &&
			!(name == "sleep" && slices.Equal(got, []string{""})) {
			t.Errorf("%q ended with %q, want %s", name, got, want)
		}
	}
	for pid, n := range started {
		if n != 1 {
			t.Errorf("process %d starts %d times", pid, n)
		}
	}
	if connections < 2 {
		t.Errorf("%d events of connections", connections)
	}
	if out > 0 {
		t.Errorf("%d calls are told after one that began later", out)
	}
}

// TestTraceBegins shows every call, several times: the program's own come first, and none
// of those that start it waits for ever.
func TestTraceBegins(t *testing.T) {
	needBoxer(t)
	_, app := pair(t, "db", "app")
	for range 10 {
		file := filepath.Join(tempDir(t), "trace.txt")
		args := []string{"trace", "-f", "-e", "all", "-o", file, "--join",
			"@" + app.joinFile, "--", "/usr/bin/true"}
		if status := proctest.ForTest(t, "trace",
			app.host.Command(context.Background(), boxer,
				args...)).Wait(proctest.Patience); status != 0 {
			t.Fatalf("status %d", status)
		}
		for line := range strings.Lines(read(t, file)) {
			if strings.HasPrefix(line, "/*") {
				continue
			}
			if !strings.HasPrefix(line, `execve("/usr/bin/true", ["/usr/bin/true"]`) {
				t.Errorf("the first call is %s", line)
			}
			break
		}
	}
}
