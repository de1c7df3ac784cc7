package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A coordinator logs joins by default, as JSON if asked to, and writes its audit log.
func TestCoordinatorLogs(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	logFile, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer logFile.Close()
	cmd := bare(boxer, "coordinator", "--listen", "127.0.0.1:0", "--state",
		filepath.Join(dir, "state"), "--audit", filepath.Join(dir, "audit"))
	cmd.Env = append(os.Environ(), "BOXER_LOG_FORMAT=json")
	cmd.Stderr = logFile
	c := start(t, cmd)
	run := boxed("true")
	run.Env = append(os.Environ(), "BOXER_JOIN="+c.line())
	if r := finish(t, run); r.status != 0 || r.err != "" {
		t.Fatalf("run: %+v", r)
	}
	c.signal(unix.SIGTERM)
	wait(t, c.cmd)
	messages := make(map[string]int)
	for _, name := range []string{"log", "audit"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			var m struct{ Msg, Event string }
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Errorf("%s: %q: %v", name, line, err)
			}
			messages[m.Msg+m.Event]++
		}
	}
	for _, want := range []string{"node joined", "node left", "start", "join", "leave",
		"stop"} {
		if messages[want] != 1 {
			t.Errorf("%q is there %d times: %v", want, messages[want], messages)
		}
	}
	bad := bare(boxer, "coordinator")
	bad.Env = append(os.Environ(), "BOXER_LOG_FORMAT=xml")
	if r := finish(t, bad); r.status != 125 ||
		!strings.Contains(r.err, "use text or json") {
		t.Errorf("an unknown format: %+v", r)
	}
}
