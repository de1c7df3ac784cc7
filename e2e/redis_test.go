package e2e

import (
	"regexp"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

func TestRedis(t *testing.T) {
	natlab.NeedCommands(t, "redis-server", "redis-benchmark", "redis-cli")
	kv, app := pair(t, "kv", "app")
	cmd := kv.command("redis-server", "--bind", "0.0.0.0", "--protected-mode", "no",
		"--save", "", "--loglevel", "verbose")
	cmd.Dir = tempDir(t)
	server := proctest.ForTest(t, "redis-server", cmd)
	server.Expect(`Ready to accept connections`)
	app.reach("kv:6379")

	t.Run("addresses", func(t *testing.T) {
		kv, app := kv.with(t), app.with(t)
		info := app.run("redis-cli", "-h", "kv", "client", "info")
		m := regexp.MustCompile(`\baddr=([0-9.]+):\d+ laddr=([0-9.]+):6379\b`).FindStringSubmatch(info)
		if m == nil {
			t.Fatalf("client info says %s", info)
		}
		kv.inPrefix("addr of the client", m[1])
		if want := kv.address().String(); m[2] != want {
			t.Errorf("laddr is %s, want %s", m[2], want)
		}
		if !strings.Contains(server.Out.String(), "Accepted "+m[1]+":") {
			t.Errorf("the server's log does not have the client %s", m[1])
		}
	})

	for _, tc := range []struct{ name, pipeline, requests string }{
		{"one at a time", "1", choose("20000", "100000")},
		{"pipelined", "16", choose("100000", "1000000")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			app := app.with(t)
			out := app.runFor(3*proctest.Patience, "redis-benchmark", "-h", "kv", "-c",
				"50", "-P", tc.pipeline, "-n", tc.requests,
				"-t", "set,get,incr,lpush,lrange_100,mset", "--csv")
			lines := strings.Split(strings.TrimSpace(out), "\n")
			if len(lines) < 7 || !strings.Contains(out, `"SET"`) || !strings.Contains(out, `"LRANGE_100`) {
				t.Errorf("redis-benchmark says\n%s", out)
			}
			t.Log("\n" + out)
		})
	}
}
