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

// TestZooKeeper kills the leader of three servers under load, and puts a new function in
// its place.
func TestZooKeeper(t *testing.T) {
	c := newCloud(t, "java", "javac", "python3")
	const jar = "/usr/share/java/zookeeper.jar" // of Debian's package
	needFile(t, jar, "install Debian's zookeeper")
	node, dir := absolute(t, "zookeeper/node"), t.TempDir()
	if out, err := exec.Command("javac", "-cp", jar, "-d", dir,
		"zookeeper/Load.java").CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	names := []string{"zk1", "zk2", "zk3"}
	servers := make(map[string]*proctest.Test)
	for _, name := range names {
		servers[name] = c.function(name).start(node, name, filepath.Join(dir, name))
	}
	app := c.function("app")
	// mode returns what a server says that it is: leader or follower.
	mode := func(name string) (string, error) {
		out, err := app.try("/usr/bin/python3", "-c", `
import socket, sys
s = socket.create_connection((sys.argv[1], 2181), 5)
s.sendall(b"srvr")
print(s.makefile().read())`, name)
		if err != nil {
			return "", err
		}
		_, after, found := strings.Cut(out, "Mode: ")
		if !found {
			return "", fmt.Errorf("%s says %q", name, out)
		}
		return strings.Fields(after)[0], nil
	}
	// leader waits until all serve, and returns the name of the leader.
	leader := func() (name string, took time.Duration) {
		t.Helper()
		took = eventually(t, "a leader with two followers", func() error {
			modes := make(map[string]string)
			for _, server := range names {
				m, err := mode(server)
				if err != nil {
					return err
				}
				modes[m] += server
			}
			name = modes["leader"]
			if name == "" || len(modes["follower"]) != len("zkNzkN") {
				return fmt.Errorf("%v", modes)
			}
			return nil
		})
		return name, took
	}
	_, took := leader()
	t.Logf("an ensemble after %v", took)

	load := app.start("java", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
		"-Dsun.net.inetaddr.ttl=1",
		"-cp", dir+":"+jar, "Load", "zk1:2181,zk2:2181,zk3:2181")
	for round := range rounds() {
		load.Expect(`^writing$`)
		lost, _ := leader()
		servers[lost].Kill()
		gap := load.Expect(`^interrupted (\S+)$`)[1]
		t.Logf("%s, the leader, killed: writes succeed again after %s", lost, gap)
		if d, err := time.ParseDuration(gap); err != nil || d > 20*time.Second {
			t.Errorf("writes succeed again after %s (%v), want 20s at most", gap, err)
		}

		host := fmt.Sprintf("%s-%d", lost, round)
		servers[lost] = c.replacement(lost, host).start(node, lost,
			filepath.Join(dir, host))
		_, took := leader()
		t.Logf("the function in its place follows after %v", took)
		load.Out.PassOver()
	}
	load.Expect(`^writing$`)
	load.Say("stop")
	if wrote := load.Expect(`^wrote (\d+), lost (\d+)$`); wrote[1] == "0" || wrote[2] != "0" {
		t.Error(wrote[0])
	} else {
		t.Log(wrote[0])
	}
}
