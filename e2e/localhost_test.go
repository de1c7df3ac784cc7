package e2e

import (
	"strings"
	"testing"
)

// TestLocalhost has two nodes on one host, each with its own 127.0.0.1.
func TestLocalhost(t *testing.T) {
	needBoxer(t)
	c := newCloud(t)
	host := c.function("host", punchable)
	// Each node serves a file with its name, privately on one port and to all on another,
	// and reads it back by every name that localhost has.
	const text = `
cd "$1"; echo "$2" > name
/usr/bin/python3 -u -m http.server 7000 --bind 127.0.0.1 >/dev/null 2>&1 &
/usr/bin/python3 -u -m http.server 7001 --bind 0.0.0.0 >/dev/null 2>&1 &
for target in 127.0.0.1:7000 localhost:7000 127.0.0.1:7001 localhost:7001 "$2:7001"; do
	"$0" wait $target > /dev/null && echo "$target $(curl --silent http://$target/name)"
done
echo done
wait
`
	for _, name := range []string{"a", "b"} {
		p := host.named(name).start("sh", "-c", text, program(t, "probe"), tempDir(t), name)
		for _, target := range []string{"127.0.0.1:7000", "localhost:7000",
			"127.0.0.1:7001", "localhost:7001", name + ":7001"} {
			if got := p.Expect(`^(\S+) (.*)$`); got[1] != target || got[2] != name {
				t.Errorf("in node %s, %s is %q", name, got[1], got[2])
			}
		}
		p.Expect(`^done$`)
	}
	third := host.named("third")
	for _, name := range []string{"a", "b"} {
		if out := third.run("curl", "--silent",
			"http://"+name+":7001/name"); out != name+"\n" {
			t.Errorf("%s:7001 is %q", name, out)
		}
		if out := third.run(program(t, "probe"), "dial",
			name+":7000"); !strings.HasPrefix(out, "failed with ECONNREFUSED") {
			t.Errorf("%s:7000, which is private: %s", name, out)
		}
	}
	for _, port := range []string{"7000", "7001"} {
		if out := third.run(program(t, "probe"), "dial",
			"127.0.0.1:"+port); !strings.HasPrefix(out, "failed with ECONNREFUSED") {
			t.Errorf("another node's port %s on 127.0.0.1: %s", port, out)
		}
	}
}
