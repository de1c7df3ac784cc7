package examples

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestEtcd kills the leader of three members under load, and puts a new function in its
// place.
func TestEtcd(t *testing.T) {
	c := newCloud(t)
	ctl := build(t, "etcd", "go.etcd.io/etcd/etcdctl/v3", "etcdctl")
	env := []string{"ETCD=" + build(t, "etcd", "go.etcd.io/etcd/server/v3", "etcd"),
		"ETCDCTL=" + ctl}
	loader := build(t, "etcd", "./load", "load")
	node, dir := absolute(t, "etcd/node"), t.TempDir()

	members := make(map[string]*proctest.Test)
	endpoints := "http://etcd1:2379,http://etcd2:2379,http://etcd3:2379"
	for _, name := range []string{"etcd1", "etcd2", "etcd3"} {
		f := c.function(name)
		f.env = env
		members[name] = f.start(node, name, filepath.Join(dir, name))
	}
	app := c.function("app")
	// healthy waits until all members can commit what clients write.
	healthy := func() time.Duration {
		t.Helper()
		return eventually(t, "a cluster of healthy members", func() error {
			_, err := app.try(ctl, "--endpoints", endpoints, "endpoint", "health")
			return err
		})
	}
	t.Logf("all members healthy after %v", healthy())

	load := app.start(loader, endpoints)
	for round := range rounds() {
		load.Expect(`^writing$`)
		out := app.run(ctl, "--endpoints", endpoints, "endpoint", "status", "-w", "json")
		leader := etcdLeader(t, out)
		if members[leader] == nil {
			t.Fatalf("the leader is %q: %s", leader, out)
		}
		members[leader].Kill()
		gap := load.Expect(`^interrupted (\S+)$`)[1]
		t.Logf("%s, the leader, killed: puts succeed again after %s", leader, gap)
		if d, err := time.ParseDuration(gap); err != nil || d > 15*time.Second {
			t.Errorf("puts succeed again after %s (%v), want 15s at most", gap, err)
		}

		host := fmt.Sprintf("%s-%d", leader, round)
		f := c.replacement(leader, host)
		f.env = env
		members[leader] = f.start(node, leader, filepath.Join(dir, host), "replace")
		t.Logf("the function in its place is a healthy member after %v", healthy())
		load.Out.PassOver()
	}
	load.Expect(`^writing$`)
	load.Stdin.Close()
	if wrote := load.Expect(`^wrote (\d+), lost (\d+)$`); wrote[1] == "0" || wrote[2] != "0" {
		t.Error(wrote[0])
	} else {
		t.Log(wrote[0])
	}
}

// etcdLeader returns the name of the leader, which is the member that says so of itself
// in what etcdctl endpoint status -w json says.
func etcdLeader(t *testing.T, text string) string {
	t.Helper()
	var members []struct {
		Endpoint string
		Status   struct {
			Header struct {
				Member uint64 `json:"member_id"`
			}
			Leader uint64
		}
	}
	if err := json.Unmarshal([]byte(text), &members); err != nil {
		t.Fatalf("endpoint status says %s: %v", text, err)
	}
	for _, m := range members {
		if m.Status.Leader == m.Status.Header.Member {
			return strings.TrimSuffix(strings.TrimPrefix(m.Endpoint, "http://"), ":2379")
		}
	}
	return ""
}
