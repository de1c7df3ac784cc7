package examples

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// TestRabbitMQ kills the broker that leads a quorum queue of three under load, and puts a
// new function in its place.
func TestRabbitMQ(t *testing.T) {
	c := newCloud(t, "erl", "epmd")
	const ctl = "/usr/lib/rabbitmq/bin/rabbitmqctl"
	needFile(t, ctl, "install Debian's rabbitmq-server")
	loader := build(t, "rabbitmq", ".", "rabbitmq")
	node, dir := absolute(t, "rabbitmq/node"), t.TempDir()
	names := []string{"mq1", "mq2", "mq3"}
	brokers := make(map[string]*proctest.Test)
	began := time.Now()
	for _, name := range names {
		brokers[name] = c.function(name).start(node, name, filepath.Join(dir, name))
	}
	for _, name := range names {
		brokers[name].Expect(`completed with \d+ plugins`)
	}
	t.Logf("three brokers after %v", time.Since(began).Round(time.Millisecond))
	// Not the function of the load: the brokers connect to rabbitmqctl, too, by the name
	// of its node.
	admin := c.function("admin")
	// with the cookie
	admin.env = []string{"HOME=" + filepath.Join(dir, "mq1"), "LANG=C.UTF-8"}
	// ask runs rabbitmqctl at a broker and returns what it prints.
	ask := func(broker string, args ...string) (string, error) {
		out, err := admin.try(append([]string{ctl, "-q", "-n", "rabbit@" + broker}, args...)...)
		if exit, ok := err.(*exec.ExitError); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return out, err
	}

	load := c.function("app").start(loader, strings.Join(names, ","))
	for round := range rounds() {
		load.Expect(`^writing$`)
		out, err := ask(names[round%3], "list_queues", "--no-table-headers", "leader")
		lost := strings.TrimPrefix(strings.TrimSpace(out), "rabbit@")
		if err != nil || brokers[lost] == nil {
			t.Fatalf("the leader is %q: %v", out, err)
		}
		brokers[lost].Kill()
		gap := load.Expect(`^interrupted (\S+)$`)[1]
		t.Logf("%s, the leader, killed: messages are confirmed again after %s", lost, gap)
		if d, err := time.ParseDuration(gap); err != nil || d > 30*time.Second {
			t.Errorf("messages are confirmed again after %s (%v), want 30s at most", gap, err)
		}

		host := fmt.Sprintf("%s-%d", lost, round)
		began := time.Now()
		brokers[lost] = c.replacement(lost, host).start(node, lost,
			filepath.Join(dir, host), "replace")
		brokers[lost].Expect(`completed with \d+ plugins`)
		t.Logf("the function in its place is a broker of the cluster after %v",
			time.Since(began).Round(time.Millisecond))
		eventually(t, "three members of the queue", func() error {
			out, err := ask(lost, "list_queues", "--no-table-headers", "online")
			if err == nil && strings.Count(out, "rabbit@") != len(names) {
				err = fmt.Errorf("online are %s", out)
			}
			return err
		})
		t.Logf("it is a member of the queue after %v",
			time.Since(began).Round(time.Millisecond))
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
