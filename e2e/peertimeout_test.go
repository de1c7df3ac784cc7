package e2e

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// peerTimeout is the least that is recommended: a peer that does not run for three
// quarters of it is not dead.
const peerTimeout = 2 * time.Second

// TestPeerTimeout has machines vanish: nobody is left to say so, and connections are
// reset after the timeout, which is less than the default.
func TestPeerTimeout(t *testing.T) {
	needBoxer(t)
	db, app := pair(t, "db", "app")
	db.flags, app.flags = []string{"--peer-timeout", peerTimeout.String()},
		[]string{"--peer-timeout", peerTimeout.String()}
	db.echo()
	app.reach("db:7")
	client := app.start(program(t, "probe"), "hold", "db:7", "5")
	client.Expect(`^holding 5$`)
	if err := db.host.SetLoss(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	// quic-go ends a connection at the timeout; the default would be 8 s.
	match, err := client.Out.Within(3*peerTimeout, lostLine)
	if err != nil {
		t.Fatalf("it is not noticed: %v", err)
	}
	if d := time.Since(began); d < peerTimeout/2 || match[1] != "ECONNRESET" {
		t.Errorf("connections ended with %s after %v", match[1], d)
	}
	t.Logf("noticed after %v", time.Since(began).Round(time.Millisecond))
}

// TestPeerTimeoutFalseAlarm has a machine that is busy, a network that loses packets,
// and a peer that does not run for a while. None of them is dead.
func TestPeerTimeoutFalseAlarm(t *testing.T) {
	needBoxer(t)
	natlab.NeedCommands(t, "sh")
	db, app := pair(t, "db", "app")
	db.flags, app.flags = []string{"--peer-timeout", peerTimeout.String()},
		[]string{"--peer-timeout", peerTimeout.String()}
	server := db.echo()
	app.reach("db:7")
	client := app.start(program(t, "probe"), "hold", "db:7", "5")
	client.Expect(`^holding 5$`)
	alive := func(after string) {
		t.Helper()
		client.Say(after)
		client.Expect("^echoed " + after + " 5$")
	}

	alive("nothing")
	var hogs []*proctest.Test
	for range 6 {
		hogs = append(hogs, app.hog("sh", "-c", "while :; do :; done"))
	}
	time.Sleep(2 * peerTimeout)
	alive("load")
	for _, share := range []float64{0.3, 0} {
		if err := db.host.SetLoss(t.Context(), share); err != nil {
			t.Fatal(err)
		}
		if share > 0 {
			time.Sleep(3 * peerTimeout)
		}
	}
	alive("loss")
	for _, hog := range hogs {
		hog.Stop(syscall.SIGKILL)
	}
	supervisor := supervisorOf(t, server)
	for range 3 {
		if err := syscall.Kill(supervisor, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		time.Sleep(peerTimeout * 3 / 4)
		if err := syscall.Kill(supervisor, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		alive("freeze")
	}
	if out := client.Out.String(); strings.Contains(out, "lost") {
		t.Errorf("a connection was lost:\n%s", out)
	}
}

// hog starts a program on the function's machine, not in its node.
func (f *function) hog(name string, args ...string) *proctest.Test {
	f.t.Helper()
	return proctest.ForTest(f.t, f.name, f.host.Command(f.t.Context(), name, args...))
}
