package examples

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestMemberlist has ten nodes gossip until each knows all, and kills one.
func TestMemberlist(t *testing.T) {
	c := newCloud(t)
	program := build(t, "memberlist", ".", "memberlist")
	const count = 10
	var nodes []*process
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
		n.expect(`^up ` + name + ` `) // itself: it is there for the others to join
		nodes = append(nodes, n)
	}
	for _, n := range nodes {
		for range count - 1 {
			up := n.expect(`^(up|down) m\d (\S+)$`)
			if addr, err := netip.ParseAddr(up[2]); up[1] != "up" || err != nil || !virtual.Contains(addr) {
				t.Errorf("%s: %s: want it up, at an address of %s", n.label, up[0], virtual)
			}
		}
	}
	t.Logf("%d nodes know each other after %v", count, time.Since(began).Round(time.Millisecond))

	began = time.Now()
	nodes[count-1].kill()
	for _, n := range nodes[:count-1] {
		if down := n.expect(`^(?:up|down) .*$`)[0]; down != fmt.Sprintf("down m%d", count-1) {
			t.Errorf("%s: %s, and it is m%d that was killed", n.label, down, count-1)
		}
	}
	t.Logf("one killed: all others know after %v", time.Since(began).Round(time.Millisecond))
}
