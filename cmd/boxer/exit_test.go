package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
)

func TestExitStatus(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	script := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tc := range []struct {
		name string
		argv []string
		want int
		says string // on standard error
	}{
		{name: "0", argv: []string{"true"}},
		{name: "1", argv: []string{"false"}, want: 1},
		{name: "77", argv: []string{"sh", "-c", "exit 77"}, want: 77},
		{name: "125", argv: []string{"sh", "-c", "exit 125"}, want: 125},
		{name: "128", argv: []string{"sh", "-c", "exit 128"}, want: 128},
		{name: "255", argv: []string{"sh", "-c", "exit 255"}, want: 255},
		{name: "SIGTERM", argv: []string{"sh", "-c", "kill -TERM $$"},
			want: 128 + int(unix.SIGTERM)},
		{name: "SIGKILL", argv: []string{"sh", "-c", "kill -KILL $$"},
			want: 128 + int(unix.SIGKILL)},
		{name: "SIGHUP", argv: []string{"sh", "-c", "kill -HUP $$"},
			want: 128 + int(unix.SIGHUP)},
		{name: "SIGPIPE", argv: []string{"sh", "-c", "kill -PIPE $$"},
			want: 128 + int(unix.SIGPIPE)},
		{name: "SIGSEGV", argv: []string{"sh", "-c", "ulimit -c 0; kill -SEGV $$"},
			want: 128 + int(unix.SIGSEGV)},
		{name: "SIGURG is nothing", argv: []string{"sh", "-c", "kill -URG $$; exit 4"},
			want: 4},
		{name: "not found", argv: []string{"no-such-command"}, want: 127,
			says: "boxer: no-such-command: command not found\n"},
		{name: "no such file", argv: []string{dir + "/none"}, want: 127,
			says: "boxer: " + dir + "/none: command not found\n"},
		{name: "empty", argv: []string{""}, want: 127,
			says: "boxer: : command not found\n"},
		{name: "not executable", argv: []string{script("plain", "exit 3", 0o644)},
			want: 126, says: "permission denied"},
		{name: "a directory", argv: []string{dir}, want: 126, says: "boxer: " + dir},
		{name: "no interpreter", argv: []string{script("bad", "#!/no/such/interpreter\n",
			0o755)}, want: 127, says: "boxer: "},
		{name: "script without #!", argv: []string{script("raw", "exit $1\n", 0o755),
			"9"}, want: 9},
		{name: "script with #!", argv: []string{script("sh", "#!/bin/sh\nexit $1\n",
			0o755), "8"}, want: 8},
		{name: "garbage", argv: []string{script("elf", "\x7fELF garbage", 0o755)},
			want: 127},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if env := finish(t, bare(append([]string{"env", "--"},
				tc.argv...)...)); env.status != tc.want {
				t.Errorf("env(1) ends with %d, want %d", env.status, tc.want)
			}
			r := finish(t, boxed(tc.argv...))
			if r.status != tc.want || !strings.Contains(r.err, tc.says) {
				t.Errorf("status %d, stderr %q; want %d and %q", r.status, r.err, tc.want, tc.says)
			}
		})
	}
}

// TestOwnFailures is about what boxer does not do. It says so, with exit code 125, and
// never shows a token.
func TestOwnFailures(t *testing.T) {
	t.Parallel()
	url, err := coordinator.ParseJoinURL(joinText)
	if err != nil {
		t.Fatal(err)
	}
	closed, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	silent, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	at := func(host string) string {
		u := url
		u.Host = host
		return u.String()
	}
	unanswered := []string{"nobody listens", "nobody answers", "no such host"}
	wrongToken, wrongPin := url, url
	wrongToken.Token = strings.Repeat("0", len(url.Token))
	wrongPin.Pin[0] ^= 1
	for _, tc := range []struct {
		name string
		args []string
		says string
	}{
		{"no command", []string{"run"}, "no command given"},
		{"unknown flag", []string{"run", "--nonsense", "true"}, "--nonsense"},
		{"unknown command", []string{"nonsense"}, "nonsense"},
		{"not a URL", []string{"run", "--join", "nonsense", "true"}, "--join"},
		{"token that is none", []string{"run", "--join", "boxer://secret@", "true"},
			"--join"},
		{"no such file", []string{"run", "--join", "@" + shared + "/none", "true"},
			"--join"},
		{"publish", []string{"run", "--publish", "80", "true"}, "--publish"},
		{"wait-for", []string{"run", "--wait-for", "=", "true"}, "--wait-for"},
		{"nobody listens", []string{"run", "--join", at(closed.LocalAddr().String()),
			"true"}, closed.LocalAddr().String()},
		{"nobody answers", []string{"run", "--join", at(silent.LocalAddr().String()),
			"true"}, silent.LocalAddr().String()},
		{"no such host", []string{"run", "--join", at("no-such-host.invalid:4433"),
			"true"}, "no-such-host.invalid"},
		{"wrong token", []string{"run", "--join", wrongToken.String(), "true"}, "token"},
		{"wrong pin", []string{"run", "--join", wrongPin.String(), "true"}, "pin"},
		{"bad name", []string{"run", "--name", "a b", "true"}, "a b"},
		{"port in use", []string{"run", "--publish", silentTCP(t) + ":80", "true"},
			"address already in use"},
		{"coordinator's port in use", []string{"coordinator", "--state",
			filepath.Join(t.TempDir(), "s"), "--listen", silent.LocalAddr().String()},
			"address already in use"},
		{"forward", []string{"forward", "x", "db:1"}, "forward"},
		{"status", []string{"status", "--join", "nonsense"}, "--join"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if testing.Short() && slices.Contains(unanswered, tc.name) {
				t.Skip("boxer tries for 10 s")
			}
			t.Parallel()
			began := time.Now()
			r := finish(t, exec.Command(boxer, tc.args...))
			if r.status != 125 || !strings.Contains(r.err, tc.says) || r.out != "" {
				t.Errorf("status %d, stderr %q, stdout %q; want 125 and %q", r.status,
					r.err, r.out, tc.says)
			}
			for line := range strings.Lines(r.err) {
				if !strings.HasPrefix(line, "boxer: ") {
					t.Errorf("a line of boxer's: %q", line)
				}
			}
			for _, secret := range []string{url.Token, wrongToken.Token, "secret"} {
				if strings.Contains(r.err, secret) {
					t.Errorf("the error has a token in it: %s", r.err)
				}
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

// silentTCP returns an address that is listened on.
func silentTCP(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return fmt.Sprint(l.Addr())
}

// TestLoopbackDown runs boxer where the loopback interface is down, as in every new
// network namespace: it says so at once, and doctor does.
func TestLoopbackDown(t *testing.T) {
	t.Parallel()
	alone := func(args ...string) *exec.Cmd {
		return exec.Command("unshare", append([]string{"--net", boxer}, args...)...)
	}
	const says = "the loopback interface is down; bring it up: ip link set lo up"
	if r := finish(t, alone("run", "true")); r.status != 125 ||
		!strings.Contains(r.err, says) {
		t.Errorf("boxer run: %+v", r)
	}
	cmd := alone("doctor")
	// no coordinator is reached from there
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	if r := finish(t, cmd); r.status != 125 ||
		!strings.Contains(r.out, "MISSING  loopback addresses") ||
		!strings.Contains(r.out, says) {
		t.Errorf("boxer doctor: %+v", r)
	}
}

// TestOldKernel runs boxer where the kernel says that it is Linux 2.6 (UNAME26,
// personality(2)): it rewrites the program, refuses a filter at once, and doctor says
// why.
func TestOldKernel(t *testing.T) {
	t.Parallel()
	old := func(args ...string) *exec.Cmd {
		return exec.Command("setarch", append([]string{"--uname-2.6", boxer}, args...)...)
	}
	const says = "is too old: filters need Linux 5.14 or newer"
	if r := finish(t, old("run", "echo", "ran")); r.status != 0 || r.out != "ran\n" {
		t.Errorf("boxer run: %+v", r)
	}
	if r := finish(t, old("run", "--interposer", "seccomp", "true")); r.status != 125 ||
		!strings.Contains(r.err, "this kernel, Linux 2.6.") ||
		!strings.Contains(r.err, says) {
		t.Errorf("boxer run --interposer seccomp: %+v", r)
	}
	if r := finish(t, old("doctor")); r.status != 0 ||
		!strings.Contains(r.out, "absent  kernel") || !strings.Contains(r.out, says) {
		t.Errorf("boxer doctor: %+v", r)
	}
}
