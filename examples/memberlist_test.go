package examples

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestMemberlist has ten nodes gossip until each knows all, and kills one.
func TestMemberlist(t *testing.T) {
	c := newCloud(t)
	program := build(t, "memberlist", ".", "memberlist")
	const count = 10
	var nodes []*proctest.Test
	began := time.Now()
	for i := range count {
		name := fmt.Sprintf("m%d", i)
		args := []string{program, name}
		if i > 0 {
			args = append(args, "m0")
		}
		nat := punchable
		if i%3 == 1 {
			nat = symmetric // what it has with the likes of it is relayed
		}
		n := c.behind(nat, name, name).start(args...)
		n.Expect(`^up ` + name + ` `) // itself: it is there for the others to join
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		for range count - 1 {
			up := n.Expect(`^(up|down) m\d (\S+)$`)
			if addr, err := netip.ParseAddr(up[2]); up[1] != "up" || err != nil ||
				!virtual.Contains(addr) {
				t.Errorf("%s: %s: want it up, at an address of %s", n.Label, up[0], virtual)
			}
		}
	}
	t.Logf("%d nodes know each other after %v", count,
		time.Since(began).Round(time.Millisecond))

	began = time.Now()
	nodes[count-1].Kill()
	for _, n := range nodes[:count-1] {
		if down := n.Expect(`^(?:up|down) .*$`)[0]; down != fmt.Sprintf("down m%d", count-1) {
			t.Errorf("%s: %s, and it is m%d that was killed", n.Label, down, count-1)
		}
	}
	t.Logf("one killed: all others know after %v",
		time.Since(began).Round(time.Millisecond))
}
