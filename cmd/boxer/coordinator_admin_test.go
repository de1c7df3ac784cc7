package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The commands that administer a coordinator, on a coordinator with real nodes.
func TestTokenCommands(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	admin := func(args ...string) result {
		t.Helper()
		return finish(t, bare(append(append([]string{boxer, "coordinator"}, args...),
			"--state", state)...))
	}
	if r := admin("token", "list"); r.status != 125 ||
		!strings.Contains(r.err, "no coordinator has the administration socket") {
		t.Errorf("without a coordinator: %+v", r)
	}
	c := start(t, bare(boxer, "coordinator", "--listen", "127.0.0.1:0", "--state", state))
	open := strings.TrimSpace(c.line())

	join := func(url string, args ...string) result {
		t.Helper()
		path := filepath.Join(dir, "url")
		if err := os.WriteFile(path, []byte(url), 0o600); err != nil {
			t.Fatal(err)
		}
		return finish(t, bare(append([]string{boxer, "run", "--join", "@" + path}, args...)...))
	}
	made := admin("token", "create", "database", "--bind", "db", "--tag", "prod", "--uses", "1",
		"--ttl", "1h")
	if made.status != 0 || !strings.HasPrefix(made.out, "boxer://") || made.err != "" {
		t.Fatalf("create: %+v", made)
	}
	if r := join(made.out, "--", "hostname"); r.status != 0 {
		t.Errorf("join with the token: %+v", r)
	}
	if r := join(open, "--name", "db", "--", "true"); r.status != 125 ||
		!strings.Contains(r.err, "the name db is bound to another token") {
		t.Errorf("the name of another token: %+v", r)
	}
	if r := join(made.out, "--", "true"); r.status != 125 ||
		!strings.Contains(r.err, "the token database admits 1 nodes") {
		t.Errorf("a token that is used up: %+v", r)
	}
	if r := admin("token", "list"); r.status != 0 ||
		!strings.Contains(r.out, "database  used up  1 of 1") ||
		strings.Contains(r.out, strings.TrimPrefix(strings.Split(made.out, "@")[0], "boxer://")) {
		t.Errorf("list: %+v", r)
	}
	if r := admin("token", "create", "x y"); r.status != 125 || !strings.Contains(r.err, "want a name") {
		t.Errorf("a wrong name: %+v", r)
	}
	if r := admin("token", "revoke", "--evict", "database"); r.status != 0 ||
		r.out != "revoked token database\n" {
		t.Errorf("revoke: %+v", r)
	}
	if r := admin("token", "revoke", "database"); r.status != 125 ||
		!strings.Contains(r.err, "token list") {
		t.Errorf("revoke again: %+v", r)
	}
	if r := admin("evict", "db"); r.status != 125 || !strings.Contains(r.err, "boxer status") {
		t.Errorf("evict nobody: %+v", r)
	}

	// An evicted node loses the network while its program runs.
	path := filepath.Join(dir, "open")
	if err := os.WriteFile(path, []byte(open), 0o600); err != nil {
		t.Fatal(err)
	}
	node := start(t, bare(boxer, "run", "--join", "@"+path, "--name", "victim", "--", "sh", "-c",
		"echo ready; exec sleep 1000"))
	node.line()
	if r := admin("evict", "victim"); r.status != 0 ||
		!strings.HasPrefix(r.out, "evicted victim, node ") {
		t.Errorf("evict: %+v", r)
	}
	if r := admin("token", "revoke", "default"); r.status != 0 {
		t.Errorf("revoke default: %+v", r)
	}
	if r := join(open, "--", "true"); r.status != 125 || !strings.Contains(r.err, "token not accepted") {
		t.Errorf("the join URL after its token was revoked: %+v", r)
	}
	for _, p := range []*process{node, c} {
		p.signal(unix.SIGTERM)
		wait(t, p.cmd)
	}
}
