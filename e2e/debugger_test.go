package e2e

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// gdb are the arguments that make gdb(1) quiet, and leave it without the user's settings.
var gdb = []string{"-q", "-batch", "-nx", "-ex", "set debuginfod enabled off"}[:5:5]

// TestDebugger runs a boxed program under gdb, stops it in trapped calls, and attaches to
// another that sleeps in one.
func TestDebugger(t *testing.T) {
	natlab.NeedCommands(t, "gdb")
	if os.Getenv("BOXER_INTERPOSER") == "rewrite" {
		t.Skip("gdb knows neither the loader nor the hook (docs/interposition.md)")
	}
	db, app := pair(t, "db", "app")
	server := db.start("sh", "-c", "echo process $$; exec "+program(t, "tcp")+" server 7")
	pid := server.Expect(`^process (\d+)$`)[1]
	server.Expect(`^listening`)
	app.reach("db:7")
	addr := db.address().String()

	t.Run("run", func(t *testing.T) {
		out := app.with(t).run("gdb", append(gdb, "-ex", "break connect", "-ex", "run",
			"-ex", "bt 1", "-ex", "finish", "-ex", "continue",
			"--args", program(t, "tcp"), "client", addr, "7", "100000")...)
		for _, want := range []string{`(?m)^Breakpoint 1, .*connect`, `(?m)^#0 .* connect`, `(?m)^peer ` + regexp.QuoteMeta(addr) + ` 7 `, `exited normally`} {
			if !regexp.MustCompile(want).MatchString(out) {
				t.Errorf("no %q in:\n%s", want, out)
			}
		}
	})
	// The server sleeps in accept(2). gdb stops it, which ends the call, and lets it go
	// on, which makes it again.
	t.Run("attach", func(t *testing.T) {
		cmd := db.host.Command(t.Context(), "gdb",
			append(gdb, "-ex", "bt", "-ex", "detach", "-p", pid)...)
		out, err := cmd.CombinedOutput()
		if err != nil || !regexp.MustCompile(`(?m)^#\d+ .* accept`).Match(out) {
			t.Errorf("gdb: %v\n%s", err, out)
		}
		if out := app.with(t).run(program(t, "tcp"), "client", addr, "7",
			"1000"); !strings.HasPrefix(out, "peer "+addr+" 7 ") {
			t.Errorf("after gdb has gone: %q", out)
		}
	})
}
