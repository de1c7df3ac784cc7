package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

// inside is a command that runs boxer, with arguments, in the program of a node.
func inside(node string, args ...string) *exec.Cmd {
	cmd := exec.Command(boxer, append([]string{"run", "--name", node, "--", boxer}, args...)...)
	// With the URL itself, the program is not told the secret: the supervisor asks for
	// it.
	cmd.Env = append(os.Environ(), "BOXER_JOIN="+joinText)
	return cmd
}

func TestRunInside(t *testing.T) {
	t.Parallel()
	const says = "boxer: already inside boxer run (node in): "
	for _, tc := range []struct {
		args   []string
		status int
		out    string
		err    string // a part of it
	}{
		{args: []string{"run", "--", "printf", "%s %s", "a b", "c"}, out: "a b c",
			err: "printf runs in this node\n"},
		{args: []string{"run", "hostname"}, out: "in\n",
			err: "hostname runs in this node\n"},
		{args: []string{"run", "--name", "in", "true"}, err: "true runs in this node\n"},
		{args: []string{"run", "sh", "-c", "exit 7"}, status: 7,
			err: "sh runs in this node\n"},
		{args: []string{"run", "sh", "-c", "kill $$"}, status: 143},
		{args: []string{"run", "no-such-command"}, status: 127,
			err: "no-such-command: command not found"},
		{args: []string{"run", "/etc"}, status: 126, err: "boxer: /etc"},
		{args: []string{"run", "--name", "other", "--publish", "1:1", "true"},
			status: 125, err: "leave out --name, --publish"},
		{args: []string{"run", "--interposer", "rewrite", "true"}, status: 125,
			err: "leave out --interposer to run true"},
		{args: []string{"trace", "true"}, status: 125, err: "boxer trace --node"},
		{args: []string{"forward", "0", "db:5432"}, status: 125,
			err: "connect to db:5432 directly"},
	} {
		r := finish(t, inside("in", tc.args...))
		if r.status != tc.status || r.out != tc.out || !strings.HasPrefix(r.err, says) &&
			tc.err != "" || !strings.Contains(r.err, tc.err) {
			t.Errorf("%v: status %d, stdout %q, stderr %q; want %d, %q, %q", tc.args,
				r.status, r.out, r.err, tc.status, tc.out, tc.err)
		}
	}
}

func TestDoctorInside(t *testing.T) {
	t.Parallel()
	r := finish(t, inside("patient", "doctor"))
	if r.status != 0 || !strings.Contains(r.out,
		"already inside boxer run (node patient)") || strings.Contains(r.out, "MISSING") {
		t.Errorf("%+v", r)
	}
}

// TestStatusInside shows the network of the node, also for a process whose parents have
// ended. The token is not in the program.
func TestStatusInside(t *testing.T) {
	t.Parallel()
	r := finish(t, inside("seen", "status", "--json"))
	var s statusJSON
	if err := json.Unmarshal([]byte(r.out), &s); err != nil {
		t.Fatalf("%v: %+v", err, r)
	}
	var name string
	for _, m := range s.Members {
		if m.ID == s.Self {
			name = m.Name
		}
	}
	if name != "seen" || !strings.Contains(s.Network, "node seen") {
		t.Errorf("the status has node %q of %q as its own", name, s.Network)
	}
	cmd := exec.Command(boxer, "run", "--name", "orphan", "--", "sh", "-c",
		`(setsid sh -c '"$0" status orphan; echo status $?' "$0" & ) ; cat`, boxer)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	for line := p.line(); !strings.HasPrefix(line, "status "); line = p.line() {
		if strings.HasPrefix(line, "*") && strings.Contains(line, "orphan") {
			name = "found"
		}
	}
	if name != "found" {
		t.Error("the status of an orphan does not show its node with a *")
	}
	in.Close()
	wait(t, cmd)
}
