package e2e

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// status returns what boxer status says of the network.
func (f *function) status() string {
	f.t.Helper()
	cmd := f.host.Command(context.Background(), boxer, "status", "--json")
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+f.url)
	p := proctest.ForTest(f.t, "boxer status", cmd)
	if status := p.Wait(proctest.Patience); status != 0 {
		f.t.Fatalf("boxer status: status %d: %s", status, p.Err)
	}
	return p.Out.String()
}

// TestPath says by which kind of path two functions meet.
func TestPath(t *testing.T) {
	needBoxer(t)
	for _, tc := range []struct {
		name string
		a, b natlab.NAT
		kind string
	}{
		{"two NATs", punchable, punchable, "punched"},
		{"two symmetric NATs", symmetric, symmetric, "relayed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloud(t)
			db, app := c.function("db", tc.a), c.function("app", tc.b)
			db.echo()
			client := app.start(program(t, "probe"), "hold", "db:7", "20")
			client.Expect(`^holding 20$`)
			client.Say("hello")
			client.Expect(`^echoed hello 20$`)
			app.named("bulk").run(program(t, "tcp"), "client", "db", "7", "5000000")
			app.eventually(`"` + tc.kind + `"`)
		})
	}
	t.Run("one host", func(t *testing.T) {
		c := newCloud(t)
		db := c.function("db", punchable)
		app := db.named("app")
		db.echo()
		client := app.start(program(t, "probe"), "hold", "db:7", "20")
		client.Expect(`^holding 20$`)
		client.Say("hello")
		client.Expect(`^echoed hello 20$`)
	})
}

// eventually waits until boxer status says text: nodes report their paths now and then.
func (f *function) eventually(text string) {
	f.t.Helper()
	var status string
	for end := time.Now().Add(proctest.Patience); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if status = f.status(); strings.Contains(status, text) {
			return
		}
	}
	f.t.Errorf("boxer status does not say %s:\n%s", text, status)
}

// TestIdle has a connection that is silent for longer than NATs remember.
func TestIdle(t *testing.T) {
	t.Parallel()
	nat := punchable
	nat.Timeout = 5 * time.Second
	silence := choose(5*nat.Timeout, 60*nat.Timeout)
	if native {
		silence = time.Second
	}
	c := newCloud(t)
	db, app := c.function("db", nat), c.function("app", nat)
	db.echo()
	client := app.start(program(t, "probe"), "hold", "db:7", "3")
	client.Expect(`^holding 3$`)
	for _, line := range []string{"before", "after"} {
		client.Say(line)
		client.Expect(`^echoed ` + line + ` 3$`)
		if line == "before" {
			select {
			case <-client.Ended:
			case <-time.After(silence): // the silence is the test
			}
		}
	}
}
