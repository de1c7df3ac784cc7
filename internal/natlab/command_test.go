package natlab_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

func discard(r io.Reader) (int64, error) { return io.Copy(io.Discard, r) }

// output returns what a command printed, or ends the test.
func output(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", cmd.Args[2:], err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestCommand(t *testing.T) {
	lab := natlab.ForTest(t)
	h := public(t, lab, "h")
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	if got := output(t, h.Command(t.Context(), "hostname")); got != "h" {
		t.Errorf("hostname %q", got)
	}
	if got := output(t, h.Command(t.Context(), "pwd")); got != wd {
		t.Errorf("directory %q, want %q", got, wd)
	}
	if got := output(t, h.Command(t.Context(), "ip", "-o", "-4",
		"address")); !strings.Contains(got, h.Addr().String()) {
		t.Errorf("addresses %q", got)
	}
	if got := output(t, h.Command(t.Context(), "cat",
		"/etc/resolv.conf")); got != "nameserver 192.0.2.53" {
		t.Errorf("resolv.conf %q", got)
	}
	if err := h.SetResolvConf("nameserver 127.0.0.1\n"); err != nil {
		t.Fatal(err)
	}
	cmd := h.Command(t.Context(), "sh", "-c", `cat /etc/resolv.conf; pwd; echo $0 $V`)
	cmd.Dir, cmd.Env = "/", []string{"V=v"}
	if got := output(t, cmd); got != "nameserver 127.0.0.1\n/\nsh v" {
		t.Errorf("with a directory and an environment: %q", got)
	}
	here, err := os.ReadFile("/etc/resolv.conf")
	if err != nil || string(here) == "nameserver 127.0.0.1\n" {
		t.Errorf("the host's resolv.conf is everybody's: %q %v", here, err)
	}
}

func TestCommandEnds(t *testing.T) {
	lab := natlab.ForTest(t)
	h := public(t, lab, "h")
	var exit *exec.ExitError
	if err := h.Command(t.Context(), "sh", "-c", "exit 7").Run(); !errors.As(err,
		&exit) || exit.ExitCode() != 7 {
		t.Errorf("got %v, want exit status 7", err)
	}
	if err := h.Command(t.Context(), "no-such-program").Run(); !errors.Is(err,
		exec.ErrNotFound) {
		t.Errorf("got %v, want %v", err, exec.ErrNotFound)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cmd := h.Command(ctx, "sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := cmd.Wait(); err == nil {
		t.Error("the command outlived its context")
	}
}

func TestAs(t *testing.T) {
	natlab.NeedUsers(t)
	lab := natlab.ForTest(t)
	nobody, err := public(t, lab, "h").As("nobody")
	if err != nil {
		t.Fatal(err)
	}
	if got := output(t, nobody.Command(t.Context(), "sh", "-c",
		"id -un; id -Gn; echo $HOME; hostname")); got != "nobody\nnogroup\n/nonexistent\nh" {
		t.Errorf("got %q", got)
	}
	if _, err := nobody.As("no-such-user"); err == nil {
		t.Error("became a user that does not exist")
	}
}

func TestDo(t *testing.T) {
	lab := natlab.ForTest(t)
	h := public(t, lab, "h")
	err := h.Do(func() error {
		name, err := os.Hostname()
		if err == nil && name != "h" {
			t.Errorf("hostname %q", name)
		}
		// A program started from here is on the host too.
		if got := output(t, exec.Command("sh", "-c", "hostname", "", "")); got != "h" {
			t.Errorf("the program's hostname is %q", got)
		}
		return io.ErrUnexpectedEOF
	})
	if err != io.ErrUnexpectedEOF {
		t.Errorf("got %v", err)
	}
	if name, err := os.Hostname(); err != nil || name == "h" {
		t.Errorf("the process's hostname is %q, %v", name, err)
	}
}

func TestCloseKills(t *testing.T) {
	lab := natlab.ForTest(t)
	h := public(t, lab, "h")
	// A grandchild that ignores what it can, and whose parent ends.
	cmd := h.Command(t.Context(), "sh", "-c", `trap "" TERM HUP; sleep 1000 & echo; exec sleep 1000`)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(stdout)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if err := lab.Close(); err != nil {
		t.Fatal(err)
	}
	// Both had the pipe: it ends when both have.
	if _, err := out.ReadString('\n'); err != io.EOF {
		t.Errorf("got %v, want the end", err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("the command ended by itself")
	}
	if _, err := lab.Public(t.Context(), "late"); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a closed lab takes hosts: %v", err)
	}
}
