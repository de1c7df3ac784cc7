package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// TestReady starts nodes that get ready in each way. Their names lead to them then, and
// not before.
func TestReady(t *testing.T) {
	url := startCoordinator(t)
	onlooker := joinAs(t, url, "onlooker", nil, nil)
	file := filepath.Join(t.TempDir(), "ready")
	for name, tc := range map[string]struct {
		program string
		when    ReadyWhen
		prepare func(n *testNode)
	}{
		"port":    {"serve", ReadyWhen{Port: 80}, nil},
		"file":    {"wait", ReadyWhen{File: file}, func(*testNode) { touch(t, file) }},
		"command": {"wait", ReadyWhen{Command: "test -e " + file + "2"}, func(*testNode) { touch(t, file+"2") }},
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t, url, tc.program, func(c *RunConfig) {
				c.Name, c.Ready = "ready-"+name, &tc.when
			})
			if tc.prepare != nil {
				id := n.Status().ID
				if err := onlooker.m.client.AwaitPresence(t.Context(), id,
					func(p coordinator.Presence) bool { return p.Unlisted }); err != nil {
					t.Fatal(err)
				}
				if m := onlooker.m.client.LookupName(n.Status().Name); len(m) > 0 {
					t.Errorf("the name leads to %v already", m)
				}
				tc.prepare(n)
			}
			if err := onlooker.m.client.Wait(t.Context(), "ready-"+name, 1); err != nil {
				t.Fatal(err)
			}
			if err := n.SetListed(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			await(t, func() bool {
				return len(onlooker.m.client.LookupName("ready-"+name)) == 0
			})
		})
	}
}

func touch(t *testing.T, path string) {
	t.Helper()
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestParseReadyWhen(t *testing.T) {
	for text, want := range map[string]ReadyWhen{"5432": {Port: 5432},
		"file:/tmp/x": {File: "/tmp/x"}, "command:test -e /x": {Command: "test -e /x"}} {
		if got, err := ParseReadyWhen(text); err != nil || *got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "0", "65536", "file:", "command:", "http", "-1"} {
		if _, err := ParseReadyWhen(text); err == nil ||
			!strings.Contains(err.Error(), "5432") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
