package examples

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestNginx balances the load over three functions with one name, kills one, and puts
// another in its place.
func TestNginx(t *testing.T) {
	natlab.NeedUsers(t) // nginx, as root, becomes another user
	c := newCloud(t, "nginx", "curl")
	dir, script := t.TempDir(), absolute(t, "nginx/web")
	app := c.function("app")
	var webs []*proctest.Test
	for i := range 3 {
		webs = append(webs, c.replacement("web", fmt.Sprintf("web%d", i)).start(script,
			filepath.Join(dir, fmt.Sprint(i))))
	}
	// resolves waits until the name has that many addresses with a server behind each.
	resolves := func(want int) {
		t.Helper()
		took := eventually(t, fmt.Sprintf("%d servers", want), func() error {
			out, err := app.try("getent", "ahostsv4", "web")
			addrs := make(map[string]bool)
			for line := range strings.Lines(out) {
				addrs[strings.Fields(line)[0]] = true
			}
			if err == nil && len(addrs) != want {
				err = fmt.Errorf("web is at %v", addrs)
			}
			for addr := range addrs {
				if err == nil {
					_, err = app.try("curl", "-s", "-m", "5", "http://"+addr)
				}
			}
			return err
		})
		t.Logf("web is at %d addresses after %v", want, took)
	}
	resolves(3)
	balancer := c.function("lb").start(absolute(t, "nginx/balancer"),
		filepath.Join(dir, "lb"))
	eventually(t, "the balancer", func() error {
		_, err := app.try("curl", "-s", "-m", "5", "http://lb")
		return err
	})
	// answers has 60 requests answered, and returns by whom and how often.
	answers := func() map[string]int {
		t.Helper()
		counts := make(map[string]int)
		for _, addr := range strings.Fields(app.run("curl", "-s", "-f", "http://lb/[1-60]")) {
			counts[addr]++
			if a, err := netip.ParseAddr(addr); err != nil || !virtual.Contains(a) {
				t.Errorf("answer %q: want an address of %s", addr, virtual)
			}
		}
		return counts
	}
	before := answers()
	t.Log("before:", before)
	if len(before) != 3 {
		t.Errorf("%d servers answer, want 3: %v", len(before), before)
	}
	for addr, n := range before {
		if n != 20 {
			t.Errorf("%s answers %d of 60 requests, want 20", addr, n)
		}
	}

	webs[0].Kill()
	without := answers() // each of them is answered, or curl would fail
	t.Log("one killed:", without)
	if len(without) != 2 {
		t.Errorf("%d servers answer, want 2: %v", len(without), without)
	}

	resolves(2) // the dead one is forgotten
	c.replacement("web", "web3").start(script, filepath.Join(dir, "3"))
	resolves(3)
	if err := balancer.Cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	took := eventually(t, "another server", func() error {
		if again := answers(); len(again) != 3 {
			return fmt.Errorf("%v", again)
		}
		return nil
	})
	t.Logf("three answer again, %v after SIGHUP", took)
}
