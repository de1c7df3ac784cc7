package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// nft runs a script of nftables on the function's host.
func (f *function) nft(script string) {
	f.t.Helper()
	cmd := f.host.Command(context.Background(), "nft", script)
	if out, err := cmd.CombinedOutput(); err != nil {
		f.t.Fatalf("nft %s: %v\n%s", script, err, out)
	}
}

// blockUDP drops all UDP packets of the function's host but those on loopback.
func (f *function) blockUDP() {
	f.t.Helper()
	natlab.NeedCommands(f.t, "nft")
	f.nft("add table inet blocked")
	for _, hook := range []string{"input", "output"} {
		f.nft(fmt.Sprintf("add chain inet blocked %s { type filter hook %s priority 0; }",
			hook, hook))
	}
	f.nft(`add rule inet blocked output oifname != "lo" meta l4proto udp drop`)
	f.nft(`add rule inet blocked input iifname != "lo" meta l4proto udp drop`)
}

// over says how the nodes of a name reach the coordinator, as boxer status has it.
func (f *function) over(name string) string {
	f.t.Helper()
	cmd := f.host.Command(context.Background(), boxer, "status", "--json")
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+f.url)
	out, err := cmd.Output()
	var s struct {
		Members []struct{ Name, Over string }
	}
	if err == nil {
		err = json.Unmarshal(out, &s)
	}
	if err != nil {
		f.t.Fatalf("status: %v\n%s", err, out)
	}
	for _, m := range s.Members {
		if m.Name == name {
			return m.Over
		}
	}
	return "not there"
}

// TestUDPBlocked has nodes on hosts that let no UDP through. They reach the coordinator
// and one another by TLS on port 443, and go back to UDP when that works.
func TestUDPBlocked(t *testing.T) {
	if native {
		t.Skip("tunnels are boxer's")
	}
	c := newCloudOf(t, "", "--tls-listen", "0.0.0.0:443")
	free, blocked, other := c.function("free", punchable),
		c.function("blocked", punchable),
		c.function("other", punchable)
	blocked.blockUDP()
	other.blockUDP()
	free.echo()
	began := time.Now()
	blocked.echo()
	t.Logf("a node without UDP serves after %v", time.Since(began))
	for _, to := range []string{"free:7", "blocked:7"} {
		for _, from := range []*function{free, blocked, other} {
			from.named("client").reach(to)
		}
	}
	if got := free.over("blocked"); got != "tls" {
		t.Errorf("the node without UDP reaches the coordinator over %q", got)
	}
	if got := blocked.over("free"); got != "" { // status itself takes TLS
		t.Errorf("the node with UDP reaches the coordinator over %q", got)
	}
	held := blocked.named("holder").start(program(t, "probe"), "hold", "free:7", "3")
	held.Expect(`^holding 3$`)
	blocked.nft("delete table inet blocked")
	for deadline := time.Now().Add(time.Minute); free.over("holder") != ""; {
		if time.Now().After(deadline) {
			t.Fatal("the node does not go back to UDP")
		}
		time.Sleep(time.Second)
	}
	blocked.named("client").reach("free:7")
}
