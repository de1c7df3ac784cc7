package e2e

import (
	"context"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestCoordinatorRestart kills the coordinator while a connection lives.
func TestCoordinatorRestart(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	db.echo()
	app.reach("db:7")
	client := app.start(program(t, "probe"), "hold", "db:7", "10")
	client.Expect(`^holding 10$`)
	before := db.address()
	url := db.url

	db.coordinator.Kill()
	client.Say("without-coordinator")
	client.Expect(`^echoed without-coordinator 10$`)

	db.startCoordinator()
	if db.url != url {
		t.Errorf("the join URL has changed")
	}
	late := db.function("late", punchable)
	late.echo()
	late.reach("db:7")
	if late.address() == before {
		t.Errorf("the new node has the address of the old one")
	}
	if after := db.address(); after != before {
		t.Errorf("db was %s and is %s", before, after)
	}
	app.reach("late:7")
	client.Say("with-another")
	client.Expect(`^echoed with-another 10$`)
}

// TestWaitFor has a program that starts when two nodes of one name are there.
func TestWaitFor(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	cmd := app.command(program(t, "probe"), "dial", "db:7")
	cmd.Args = insertAfter(cmd.Args, "run", "--wait-for", "db=2")
	waiting := proctest.ForTest(t, "waiting", cmd)
	db.echo()
	said := regexp.MustCompile(`^boxer: waiting for db: [01] of 2 nodes have joined`)
	if _, err := waiting.Err.Within(proctest.Patience, said); err != nil {
		t.Errorf("it does not say what it waits for: %v", err)
	}
	select {
	case <-waiting.Ended:
		t.Fatalf("did not wait for the second node: %s%s", waiting.Out, waiting.Err)
	case <-time.After(time.Second): // nothing else tells that it still waits
	}
	other := db.named("db")
	other.start(program(t, "probe"), "echo", "0.0.0.0:7").Expect(`^listening`)
	waiting.Expect(`^connected to `)
}

// TestNobodyThere names nodes that are not there, and that cannot be.
func TestNobodyThere(t *testing.T) {
	needBoxer(t)
	c := newCloud(t)
	host := c.function("app", punchable).host
	for _, tc := range []struct {
		args string
		want string
	}{
		{"run --wait-for db --wait-timeout 300ms -- true",
			"wait for db: 0 of 1 nodes have joined: --wait-timeout 300ms is over"},
		{"run --wait-for d_b -- true", "use letters, digits and hyphens"},
		{"run --wait-for db --wait-timeout -1s -- true", "--wait-timeout -1s"},
		{"forward 8000 db:80", "forward to db: no node has that name"},
		{"forward 8000 d_b:80", "use letters, digits and hyphens"},
		{"forward 8000 192.0.2.1:80", "the address is not in the network"},
	} {
		cmd := host.Command(context.Background(), boxer, strings.Fields(tc.args)...)
		cmd.Env = append(os.Environ(), "BOXER_JOIN="+c.url)
		p := proctest.ForTest(t, tc.args, cmd)
		if status := p.Wait(proctest.Patience); status != 125 ||
			!strings.Contains(p.Err.String(), tc.want) {
			t.Errorf("boxer %s: status %d, %q; want 125 and %q", tc.args, status, p.Err, tc.want)
		}
	}
	cmd := host.Command(context.Background(), boxer, "forward", "--wait",
		"127.0.0.1:8000", "db:7")
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+c.url)
	forward := proctest.ForTest(t, "forward", cmd)
	if _, err := forward.Err.Within(proctest.Patience, regexp.MustCompile(`waiting for db: 0 of 1`)); err != nil {
		t.Error(err)
	}
	db := c.function("db", punchable)
	db.echo()
	if _, err := forward.Err.Within(proctest.Patience, regexp.MustCompile(`forwarding 127\.0\.0\.1:8000 to db:7`)); err != nil {
		t.Error(err)
	}
}

// insertAfter returns args with more behind the first one that is mark.
func insertAfter(args []string, mark string, more ...string) []string {
	for i, arg := range args {
		if arg == mark {
			return append(append(append([]string(nil), args[:i+1]...), more...),
				args[i+1:]...)
		}
	}
	return args
}

// TestImplicitCoordinator runs two nodes of one user on one host, without a coordinator.
func TestImplicitCoordinator(t *testing.T) {
	needBoxer(t)
	c := newCloud(t)
	host := c.function("laptop", punchable).host
	run := func(runtimeDir, name string, command ...string) *proctest.Test {
		cmd := host.Command(context.Background(), boxer,
			append([]string{"run", "--name", name, "--"}, command...)...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+runtimeDir)
		return proctest.ForTest(t, name, cmd)
	}
	dir := tempDir(t)
	run(dir, "db", program(t, "probe"), "echo", "0.0.0.0:7").Expect(`^listening`)
	p := run(dir, "app", program(t, "probe"), "wait", "db:7")
	if status := p.Wait(proctest.Patience); status != 0 {
		t.Errorf("status %d", status)
	}
	// Another runtime directory is another user's: another network.
	p = run(tempDir(t), "stranger", program(t, "probe"), "lookup", "db")
	if status := p.Wait(proctest.Patience); status == 0 {
		t.Errorf("another user's db is %s", p.Out)
	}
}

// TestKillSupervisor kills nodes with their programs in the middle of a connection.
func TestKillSupervisor(t *testing.T) {
	needBoxer(t)
	const limit = 5 * time.Second // it takes milliseconds; the idle timeout is 8 s
	t.Run("server", func(t *testing.T) {
		db, app := pair(t, "db", "app")
		probe := program(t, "probe")
		server := db.start("sh", "-c", `setsid sleep 1000 & (trap "" TERM HUP INT; sleep 1000) & "$0" echo 0.0.0.0:7; exit`, probe)
		server.Expect(`^listening`)
		app.reach("db:7")
		client := app.start(probe, "hold", "db:7", "5")
		client.Expect(`^holding 5$`)
		client.Say("hello")
		client.Expect(`^echoed hello 5$`)
		if n := len(db.processes()); n < 5 {
			t.Fatalf("only %d processes before the kill: the test is wrong", n)
		}
		server.Signal(syscall.SIGKILL)
		killed := time.Now()
		if match, err := client.Out.Within(limit, lostLine); err != nil {
			t.Errorf("the peer noticed nothing: %v", err)
		} else if match[1] != "ECONNRESET" {
			t.Errorf("the peer's connection ended with %s, want ECONNRESET", match[1])
		}
		t.Logf("the peer knows after %v", time.Since(killed).Round(time.Millisecond))
		db.expectNoProcess(limit)
	})
	t.Run("client", func(t *testing.T) {
		db, app := pair(t, "db", "app")
		server := db.echo()
		client := app.start(program(t, "probe"), "hold", "db:7", "1")
		client.Expect(`^holding 1$`)
		client.Signal(syscall.SIGKILL)
		killed := time.Now()
		if _, err := server.Out.Within(limit, resetLine); err != nil {
			t.Errorf("the server noticed no reset: %v", err)
		}
		t.Logf("the server knows after %v", time.Since(killed).Round(time.Millisecond))
		app.expectNoProcess(limit)
	})
	t.Run("program", func(t *testing.T) { // its end alone is an orderly one: Linux sends what FIN or RST it has to
		db, app := pair(t, "db", "app")
		server := db.start("sh", "-c", `"$0" echo 0.0.0.0:7 & echo pid $!; wait; sleep 1000`, program(t, "probe"))
		pid := server.Expect(`^pid (\d+)$`)[1]
		server.Expect(`^listening`)
		client := app.start(program(t, "probe"), "hold", "db:7", "1")
		client.Expect(`^holding 1$`)
		if err := syscall.Kill(atoi(t, pid), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		match, err := client.Out.Within(limit, lostLine)
		if err != nil || match[1] != "EOF" && match[1] != "ECONNRESET" {
			t.Errorf("the peer's connection ended with %v, %v", match, err)
		}
		if out := app.run(program(t, "probe"), "dial", "db:7"); !strings.HasPrefix(out,
			"failed with ECONNREFUSED") {
			t.Errorf("after the listener's end: %s", out)
		}
	})
}
