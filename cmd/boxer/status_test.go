package main

import (
	"bytes"
	"context"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// TestStatusTable holds the columns: each begins at one place in all lines, also below a
// node without paths.
func TestStatusTable(t *testing.T) {
	addr := netip.MustParseAddr
	path := coordinator.PathReport{Peer: 1, Kind: "local",
		Remote: netip.MustParseAddrPort("127.0.0.1:4433"),
		RTT:    35 * time.Microsecond, BytesSent: 1 << 20, BytesReceived: 17}
	far := path
	far.Peer, far.Kind = 70, "punched"
	v := view{network: "network of coordinator h:1", self: 2, snap: coordinator.Snapshot{
		Version: "1.0", Started: time.Now(), Prefix: coordinator.DefaultPrefix,
		Members: []coordinator.Member{
			{ID: 1, Name: "lonely-and-long", Addr: addr("10.111.0.2"), Host: "x",
				Since: time.Now()},
			{ID: 2, Name: "b", Addr: addr("10.111.0.3"),
				Addr6: addr("fd6f:7865:72::a6f:3"), Host: "y", Since: time.Now(),
				Program: "1.0", About: &coordinator.About{Command: "nginx",
					Ports: []uint16{80, 443}},
				Paths: []coordinator.PathReport{path, far}},
			{ID: 3, Name: "c", Addr: addr("10.111.0.4"), Host: "x", Since: time.Now(),
				Paths: []coordinator.PathReport{far}},
		}}}
	var b bytes.Buffer
	if err := printStatus(&b, v, v.snap.Members); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	want := []string{
		"network of coordinator h:1 (boxer 1.0, up 0s, 10.111.0.0/16)",
		"NODE  NAME             ADDRESS     IPV6                 UP  HOST  BOXER  PROGRAM  LISTENS  PATH TO          KIND       REMOTE          RTT   SENT     RECEIVED",
		"1     lonely-and-long  10.111.0.2  -                    0s  a     -      -        -",
		"*2    b                10.111.0.3  fd6f:7865:72::a6f:3  0s  b     1.0    nginx    80,443   lonely-and-long  same host  127.0.0.1:4433  35µs  1.0 MiB  17 B",
		"                                                                                           node-70          punched    127.0.0.1:4433  35µs  1.0 MiB  17 B",
		"3     c                10.111.0.4  -                    0s  a     -      -        -        node-70          punched    127.0.0.1:4433  35µs  1.0 MiB  17 B",
	}
	for i := range max(len(lines), len(want)) {
		if i >= len(lines) || i >= len(want) || lines[i] != want[i] {
			t.Errorf("got\n%s\nwant\n%s", b.String(), strings.Join(want, "\n"))
			break
		}
	}
}

func TestOnly(t *testing.T) {
	members := []coordinator.Member{
		{ID: 1, Name: "db", Addr: netip.MustParseAddr("10.111.0.2")},
		{ID: 2, Name: "node-2", Addr: netip.MustParseAddr("10.111.0.3")},
		{ID: 3, Name: "db", Addr: netip.MustParseAddr("10.111.0.4")},
	}
	for query, want := range map[string]int{"": 3, "db": 2, "2": 1, "node-3": 1,
		"10.111.0.2": 1, "db 2": 3, "none": -1, "db none": -1} {
		got, err := only(members, strings.Fields(query))
		if n := len(got); err == nil && n != want || err != nil && want >= 0 {
			t.Errorf("%q: %d nodes, %v; want %d", query, n, err, want)
		}
	}
}

func TestLetters(t *testing.T) {
	for n, want := range map[int]string{0: "a", 25: "z", 26: "aa", 27: "ab",
		26 + 26*26: "aaa"} {
		if got := letters(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

// TestWatch shows the status until ctrl-C.
func TestWatch(t *testing.T) {
	t.Parallel()
	p := start(t, exec.Command(boxer, "status", "--watch=100ms"))
	for range 3 {
		for line := p.line(); !strings.HasPrefix(line,
			"network of coordinator "); line = p.line() {
		}
	}
	p.signal(unix.SIGINT)
	if status := wait(t, p.cmd); status != 0 {
		t.Errorf("status %d", status)
	}
	if r := finish(t, exec.Command(boxer, "status", "--watch=1ms")); r.status != 125 ||
		!strings.Contains(r.err, "--watch") {
		t.Errorf("%+v", r)
	}
}

// TestStatusOfNobody does not start a network to show that there is none.
func TestStatusOfNobody(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.CommandContext(context.Background(), boxer, "status")
	cmd.Env = []string{"XDG_RUNTIME_DIR=" + dir, "HOME=" + dir}
	if r := finish(t, cmd); r.status != 125 ||
		!strings.Contains(r.err, "this user has no network on this host") {
		t.Errorf("%+v", r)
	}
}

// TestStatusOfServer shows what a node runs, and where that listens.
func TestStatusOfServer(t *testing.T) {
	t.Parallel()
	cmd := exec.Command(boxer, "run", "--name", "talks", "--", "python3", "-c", talker)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	p.line()
	var line string
	for deadline := time.Now().Add(patience); !strings.Contains(line, " 7001"); {
		if time.Now().After(deadline) {
			t.Fatalf("the status is %q", line)
		}
		r := finish(t, exec.Command(boxer, "status", "talks"))
		line = r.out
	}
	if !strings.Contains(line, " python3 ") {
		t.Errorf("the status is %q", line)
	}
	in.Close()
	wait(t, cmd)
}
