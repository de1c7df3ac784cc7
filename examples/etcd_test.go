package examples

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"time"
)

// TestEtcd kills the leader of three members under load, and puts a new function in its place.
func TestEtcd(t *testing.T) {
	c := newCloud(t)
	ctl := build(t, "etcd", "go.etcd.io/etcd/etcdctl/v3", "etcdctl")
	env := []string{"ETCD=" + build(t, "etcd", "go.etcd.io/etcd/server/v3", "etcd"), "ETCDCTL=" + ctl}
	load := build(t, "etcd", "./load", "load")
	node, dir := absolute(t, "etcd/node"), t.TempDir()

	members := make(map[string]*process)
	endpoints := ""
	for _, name := range []string{"etcd1", "etcd2", "etcd3"} {
		f := c.function(name)
		f.env = env
		members[name] = f.start(node, name, filepath.Join(dir, name))
		endpoints += ",http://" + name + ":2379"
	}
	endpoints = endpoints[1:]
	app := c.function("app")
	took := eventually(t, "a cluster", func() error {
		_, err := app.try(ctl, "--endpoints", endpoints, "endpoint", "health")
		return err
	})
	t.Logf("all members healthy after %v", took)

	// The leader is the member that says so of itself.
	var status []struct {
		Endpoint string
		Status   struct {
			Header struct {
				Member uint64 `json:"member_id"`
			}
			Leader uint64
		}
	}
	out := app.run(ctl, "--endpoints", endpoints, "endpoint", "status", "-w", "json")
	if err := json.Unmarshal([]byte(out), &status); err != nil {
		t.Fatalf("endpoint status says %s: %v", out, err)
	}
	leader := ""
	for _, s := range status {
		if s.Status.Leader == s.Status.Header.Member {
			if _, err := fmt.Sscanf(s.Endpoint, "http://%5s", &leader); err != nil {
				t.Fatalf("endpoint %q: %v", s.Endpoint, err)
			}
		}
	}
	if members[leader] == nil {
		t.Fatalf("the leader is %q: %s", leader, out)
	}

	writer := app.start(load, endpoints)
	writer.expect(`^writing$`)
	members[leader].kill()
	gap := writer.expect(`^interrupted (\S+)$`)[1]
	t.Logf("%s, the leader, killed: puts succeed again after %s", leader, gap)
	if d, err := time.ParseDuration(gap); err != nil || d > 15*time.Second {
		t.Errorf("puts succeed again after %s (%v), want 15s at most", gap, err)
	}

	f := c.replacement(leader, leader+"-again")
	f.env = env
	f.start(node, leader, filepath.Join(dir, leader+"-again"), "replace")
	took = eventually(t, "the new member", func() error {
		_, err := app.try(ctl, "--endpoints", endpoints, "endpoint", "health")
		return err
	})
	t.Logf("the function in its place is a healthy member after %v", took)
	writer.expect(`^writing$`)
	writer.stdin.Close()
	if wrote := writer.expect(`^wrote (\d+), lost (\d+)$`); wrote[1] == "0" || wrote[2] != "0" {
		t.Error(wrote[0])
	} else {
		t.Log(wrote[0])
	}
}
