package examples

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestRedis kills the master of three servers: the Sentinels promote another, which
// clients find.
func TestRedis(t *testing.T) {
	c := newCloud(t, "redis-server", "redis-sentinel", "redis-cli", "getent")
	node, client, dir := absolute(t, "redis/node"), absolute(t, "redis/client"),
		t.TempDir()
	nodes := make(map[string]*proctest.Test)
	for _, name := range []string{"kv1", "kv2", "kv3"} {
		nodes[name] = c.function(name).start(node, name, filepath.Join(dir, name))
	}
	app := c.function("app")
	// knows waits until the server at name has these lines in its INFO.
	knows := func(name string, lines ...string) time.Duration {
		t.Helper()
		return eventually(t, fmt.Sprintf("%s says %q", name, lines), func() error {
			out, err := app.try("redis-cli", "-h", name, "info", "replication")
			for _, line := range lines {
				if err == nil && !strings.Contains(out, line+"\r\n") {
					err = fmt.Errorf("%s", out)
				}
			}
			return err
		})
	}
	// ready waits until the Sentinel at name knows the others and the replicas.
	ready := func(name string) time.Duration {
		t.Helper()
		return eventually(t, "the Sentinel at "+name, func() error {
			out, err := app.try("redis-cli", "-h", name, "-p", "26379", "info",
				"sentinel")
			if err == nil && !strings.Contains(out, "status=ok,") ||
				!strings.Contains(out, ",slaves=2,sentinels=3") {
				err = fmt.Errorf("%s", out)
			}
			return err
		})
	}
	took := knows("kv1", "role:master", "connected_slaves:2")
	t.Logf("replication after %v", took)
	for _, name := range []string{"kv1", "kv2", "kv3"} {
		ready(name)
	}

	if got := app.run(client, "set", "greeting", "hello"); got != "kv1: OK\n" {
		t.Fatalf("set: %q", got)
	}
	for _, replica := range []string{"kv2", "kv3"} {
		eventually(t, replica+" has the write", func() error {
			if got, err := app.try("redis-cli", "-h", replica, "get",
				"greeting"); err != nil || got != "hello\n" {
				return fmt.Errorf("got %q: %v", got, err)
			}
			return nil
		})
	}
	nodes["kv1"].Kill()
	master := ""
	took = eventually(t, "another master", func() error {
		out, err := app.try(client, "set", "again", "yes")
		if err == nil {
			master, _, _ = strings.Cut(out, ":")
		}
		return err
	})
	t.Logf("kv1 killed: a client writes to the master %s after %v", master, took)
	if master != "kv2" && master != "kv3" {
		t.Errorf("the master is %s", master)
	}
	if got, want := app.run(client, "get", "greeting"), master+": hello\n"; got != want {
		t.Errorf("get: %q, want %q", got, want)
	}

	c.replacement("kv1", "kv1-again").start(node, "kv1", filepath.Join(dir, "kv1-again"))
	took = knows("kv1", "role:slave", "master_host:"+master, "master_link_status:up")
	t.Logf("the function in its place is a replica after %v", took)
	if got := app.run("redis-cli", "-h", "kv1", "get", "greeting"); got != "hello\n" {
		t.Errorf("the replica says %q", got)
	}
}
