package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestReplacedNode kills a node without a word and starts another one of the same name.
// It has the address of the old one, and clients reach it there, although nobody knows
// for sure yet that the old one is gone. A connection to the old one is reset.
func TestReplacedNode(t *testing.T) {
	needBoxer(t)
	natlab.NeedCommands(t, "/usr/bin/python3")
	c := newCloud(t)
	old, replacement, app := c.function("db", punchable),
		c.function("db2", punchable).named("db"), c.function("app", punchable)
	first := old.echo()
	client := app.start("/usr/bin/python3", "-u", script(t, "python/replaced.py"), "db", "7")
	before := client.Expect(`^reached (\S+)$`)[1]

	supervisor := supervisorOf(t, first)
	began := time.Now()
	if err := syscall.Kill(supervisor, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	client.Expect(`^lost$`)
	replacement.echo()
	there := time.Now()
	if after := client.Expect(`^reached (\S+)$`)[1]; after != before {
		t.Errorf("the replacement is at %s, the old one was at %s", after, before)
	}
	reached := time.Since(there)
	time.Sleep(settledLimit)
	client.Say("settled?")
	m := client.Expect(`^20 of 20 in (\S+) s, at most (\S+) s each, addresses (.*)$`)
	t.Logf("the replacement listened after %v and was reached %v later; then 20 more connections took %s s, the slowest %s s",
		there.Sub(began).Round(time.Millisecond), reached.Round(time.Millisecond), m[1], m[2])
	if reached > replacedLimit {
		t.Errorf("the replacement was reached after %v, want less than %v", reached,
			replacedLimit)
	}
	if got := strings.Fields(m[3]); len(got) != 1 || got[0] != before {
		t.Errorf("connections went to %q, want %s alone", got, before)
	}
	client.Expect(`^old connection: ECONNRESET$`)
}

// A client that waits for the old one gives up after one second.
const (
	settledLimit  = time.Second
	replacedLimit = 3 * time.Second
)
