package transport

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/quic-go/quic-go"
)

// memory sets Config.Memory.
func memory(bytes int64) func(*Config) { return func(c *Config) { c.Memory = bytes } }

// A peer has a few connections, however many it dials.
func TestManyConnections(t *testing.T) {
	l := newLab(t)
	victim, bad := l.node(1), l.node(2)
	exchange(t, bad.open(t, 1), "first")
	p, _ := bad.peer(1)
	var conns []*quic.Conn
	for range 3 * maxConns {
		q, err := bad.socket.QUIC().Dial(t.Context(), p.route.addr, bad.clientTLS(p.key),
			bad.quicConfig(p.account))
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, q)
	}
	eventually(t, "few are left", func() bool {
		open := 0
		for _, q := range conns {
			if q.Context().Err() == nil {
				open++
			}
		}
		v, _ := victim.peer(2)
		v.mu.Lock()
		defer v.mu.Unlock()
		return open <= maxConns && len(v.conns) <= maxConns
	})
	exchange(t, bad.open(t, 1), "still there")
}

func TestDefaultMemory(t *testing.T) {
	if got := defaultMemory(); got < minMemory || got > maxMemory {
		t.Errorf("default: %d", got)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if got := machineMemory(write("meminfo", "Foo: 1 kB\nMemTotal:  2048 kB\n")); got != 2<<20 {
		t.Errorf("machine: %d, want 2 MiB", got)
	}
	write("sys/a/b/memory.max", "max\n")
	write("sys/a/memory.max", "1048576\n")
	write("sys/memory/c/memory.limit_in_bytes", "4096\n")
	self := write("cgroup", "3:cpu:/other\n2:memory:/c\n0::/a/b\n")
	got := map[int64]bool{}
	for _, d := range cgroupDirs(self, filepath.Join(dir, "sys")) {
		got[cgroupMemory(d)] = true
	}
	if !got[1<<20] || !got[4096] || len(got) != 3 {
		t.Errorf("groups: %v", got)
	}
}
