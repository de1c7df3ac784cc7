package main

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestCommands runs a program in the background, and asks for it in each way.
func TestCommands(t *testing.T) {
	t.Parallel()
	d := finish(t, exec.Command(boxer, "run", "--detach", "--name", "background", "--", "sh",
		"-c", "trap 'echo ended; exit 3' TERM; echo begun; while :; do sleep 0.05; done"))
	id := strings.TrimSpace(d.out)
	if d.status != 0 || !strings.HasPrefix(id, "node-") {
		t.Fatalf("%+v", d)
	}
	var launcher int
	if _, text, ok := strings.Cut(d.err, "process "); !ok {
		t.Errorf("boxer says %q", d.err)
	} else if _, err := fmt.Sscanf(text, "%d", &launcher); err != nil {
		t.Error(err)
	}
	follower := start(t, exec.Command(boxer, "logs", "--follow", "background"))
	if got := follower.line(); got != "begun" {
		t.Errorf("logs shows %q", got)
	}
	attached := start(t, exec.Command(boxer, "attach", "--lines", "-1", id))
	if got := attached.line(); got != "begun" {
		t.Errorf("attach shows %q", got)
	}
	if r := finish(t, exec.Command(boxer, "ps", "background")); r.status != 0 ||
		!strings.Contains(r.out, "background  up     host   sh") {
		t.Errorf("%+v", r)
	}
	e := exec.Command(boxer, "exec", "--env", "A=b", "--chdir", "/tmp", "background", "--", "sh",
		"-c", "cat; echo $A; pwd; echo error >&2; exit 7")
	e.Stdin = strings.NewReader("input\n")
	if r := finish(t, e); r.status != 7 || r.out != "input\nb\n/tmp\n" || r.err != "error\n" {
		t.Errorf("%+v", r)
	}
	if r := finish(t, exec.Command(boxer, "stop", "background")); r.status != 0 {
		t.Errorf("%+v", r)
	}
	if got := attached.rest(); got != "ended\n" {
		t.Errorf("attach shows %q", got)
	}
	if got := follower.rest(); got != "ended\n" {
		t.Errorf("logs shows %q", got)
	}
	if got := wait(t, attached.cmd); got != 3 {
		t.Errorf("attach ends with %d", got)
	}
	if got := wait(t, follower.cmd); got != 0 {
		t.Errorf("logs ends with %d", got)
	}
	gone(t, launcher, 20*time.Second)
}

// TestCommandErrors asks for what cannot be done.
func TestCommandErrors(t *testing.T) {
	t.Parallel()
	n := start(t, exec.Command(boxer, "run", "--name", "plain", "--", "sh", "-c",
		"echo begun; exec sleep 1000"))
	n.line()
	for _, tc := range []struct {
		status int
		want   string
		args   []string
	}{
		{125, "not kept", []string{"logs", "plain"}},
		{125, `no node "nobody"`, []string{"exec", "nobody", "--", "true"}},
		{125, "no node", []string{"stop", "nobody"}},
		{125, "no terminal", []string{"exec", "--tty", "plain", "--", "true"}},
		{127, "not found", []string{"exec", "plain", "--", "/no/such"}},
		{125, "must be 0s or more", []string{"stop", "--grace", "-1s", "plain"}},
		{127, "not found", []string{"run", "--detach", "--", "/no/such"}},
		{125, "--ready-when", []string{"run", "--ready-when", "http", "--", "true"}},
		{125, "--owner", []string{"run", "--owner", "me", "--", "true"}},
	} {
		cmd := exec.Command(boxer, tc.args...)
		cmd.Stdin = strings.NewReader("")
		if r := finish(t, cmd); r.status != tc.status || !strings.Contains(r.err, tc.want) {
			t.Errorf("%q: %+v, want %d and %q", tc.args, r, tc.status, tc.want)
		}
	}
	if r := finish(t, exec.Command(boxer, "stop", "plain")); r.status != 0 {
		t.Errorf("%+v", r)
	}
	wait(t, n.cmd)
}
