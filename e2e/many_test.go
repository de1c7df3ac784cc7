package e2e

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// startLean starts a program, the memory of which is about to be compared with what it
// was. Go's collector is told to keep below a limit, or else garbage from times of many
// connections would look like a leak.
func (f *function) startLean(name string, args ...string) *proctest.Test {
	f.t.Helper()
	cmd := f.command(name, args...)
	cmd.Env = append(cmd.Environ(), "GOMEMLIMIT=48MiB")
	return proctest.ForTest(f.t, f.name+": "+filepath.Base(name), cmd)
}

// TestManyAtOnce has 1,000 connections at once between two nodes, and nothing left of
// them.
func TestManyAtOnce(t *testing.T) {
	db, app := pair(t, "db", "app")
	const count = 1000
	server := db.startLean(program(t, "probe"), "echo", "0.0.0.0:7")
	server.Expect(`^listening on `)
	hold := func(n int) {
		t.Helper()
		client := app.start(program(t, "probe"), "hold", "db:7", fmt.Sprint(n))
		client.Expect(fmt.Sprintf(`^holding %d$`, n))
		for _, line := range []string{"first", "second", "third"} {
			client.Say(line)
			client.Expect(fmt.Sprintf(`^echoed %s %d$`, line, n))
		}
		client.Stdin.Close()
		if status := client.Wait(proctest.Patience); status != 0 {
			t.Errorf("status %d", status)
		}
	}
	idle := usageOf(t, server)
	hold(count) // warm: the runtime's pools are filled
	before := settled(t, server, idle.files+4)
	if before.files > idle.files+4 {
		t.Errorf("after %d connections: %v, before: %v", count, before, idle)
	}
	for range choose(1, 5) {
		hold(count)
	}
	expectNoGrowth(t, server, before)
}

// TestOneAfterTheOther opens and closes thousands of connections.
func TestOneAfterTheOther(t *testing.T) {
	db, app := pair(t, "db", "app")
	server := db.startLean(program(t, "probe"), "echo", "0.0.0.0:7")
	server.Expect(`^listening on `)
	client := app.startLean(program(t, "probe"), "churn", "db:7")
	churn := func(n int) {
		t.Helper()
		client.Say(fmt.Sprint(n))
		client.Expect(fmt.Sprintf(`^churned %d$`, n))
	}
	churn(500) // warm
	beforeServer, beforeClient := usageOf(t, server), usageOf(t, client)
	churn(choose(2000, 10000))
	expectNoGrowth(t, server, beforeServer)
	expectNoGrowth(t, client, beforeClient)
}
