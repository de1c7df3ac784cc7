package examples

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestZooKeeper kills the leader of three servers under load, and puts a new function in its place.
func TestZooKeeper(t *testing.T) {
	c := newCloud(t, "java", "javac", "python3")
	const jar = "/usr/share/java/zookeeper.jar" // of Debian's package
	needFile(t, jar, "install Debian's zookeeper")
	node, dir := absolute(t, "zookeeper/node"), t.TempDir()
	if out, err := exec.Command("javac", "-cp", jar, "-d", dir, "zookeeper/Load.java").CombinedOutput(); err != nil {
		t.Fatalf("javac: %v\n%s", err, out)
	}
	names := []string{"zk1", "zk2", "zk3"}
	servers := make(map[string]*process)
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
	leader := ""
	took := eventually(t, "an ensemble", func() error {
		followers := 0
		leader = ""
		for _, name := range names {
			switch m, err := mode(name); {
			case err != nil:
				return err
			case m == "leader":
				leader = name
			case m == "follower":
				followers++
			}
		}
		if leader == "" || followers != len(names)-1 {
			return errors.New("no leader with two followers")
		}
		return nil
	})
	t.Logf("%s leads two followers after %v", leader, took)

	load := app.start("java", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dsun.net.inetaddr.ttl=1",
		"-cp", dir+":"+jar, "Load", "zk1:2181,zk2:2181,zk3:2181")
	load.expect(`^writing$`)
	servers[leader].kill()
	gap := load.expect(`^interrupted (\S+)$`)[1]
	t.Logf("%s, the leader, killed: writes succeed again after %s", leader, gap)
	if d, err := time.ParseDuration(gap); err != nil || d > 20*time.Second {
		t.Errorf("writes succeed again after %s (%v), want 20s at most", gap, err)
	}

	c.replacement(leader, leader+"-again").start(node, leader, filepath.Join(dir, leader+"-again"))
	took = eventually(t, "the new server", func() error {
		m, err := mode(leader)
		if err == nil && m != "follower" {
			err = errors.New(m)
		}
		return err
	})
	t.Logf("the function in its place follows after %v", took)
	load.expect(`^writing$`)
	load.say("stop")
	if wrote := load.expect(`^wrote (\d+), lost (\d+)$`); wrote[1] == "0" || wrote[2] != "0" {
		t.Error(wrote[0])
	} else {
		t.Log(wrote[0])
	}
}
