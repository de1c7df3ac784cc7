package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestTokenHidden gives the join URL as an argument, which ps(1) shows to every user of
// the host, and in the environment, which other processes of the user can read. No
// process of the node shows the token, and the program does not have it.
func TestTokenHidden(t *testing.T) {
	t.Parallel()
	url, err := coordinator.ParseJoinURL(joinText)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		args []string
		env  string
	}{
		"argument":       {args: []string{"--join", joinText}},
		"joint argument": {args: []string{"--join=" + joinText}},
		"environment":    {env: "BOXER_JOIN=" + joinText},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(boxer, append(append([]string{"run"}, tc.args...),
				"--", "sh", "-c", "echo $$; exec sleep 1000")...)
			if tc.env != "" {
				cmd.Env = append(os.Environ(), tc.env)
			}
			p := start(t, cmd)
			pids := []int{p.pid(), cmd.Process.Pid, initOf(t, cmd.Process.Pid)}
			for _, pid := range pids {
				for _, file := range []string{"cmdline", "environ"} {
					if text := read(t, pid, file); strings.Contains(text, url.Token) {
						first, _, _ := strings.Cut(read(t, pid, "cmdline"), "\x00")
						t.Errorf("%s of process %d (%s) shows the token", file, pid, first)
					}
				}
			}
			p.signal(unix.SIGTERM)
			wait(t, cmd)
		})
	}
}

// TestAllTokensHidden gives the program an argument with two join URLs. The program gets
// it as it is, but ps(1) shows neither token as an argument of the supervisor.
func TestAllTokensHidden(t *testing.T) {
	t.Parallel()
	url, err := coordinator.ParseJoinURL(joinText)
	if err != nil {
		t.Fatal(err)
	}
	text := "from boxer://other@192.0.2.1:1 to " + joinText + "!"
	cmd := boxed("sh", "-c", `echo "$0"; read x`, text)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p := start(t, cmd)
	if got := p.line(); got != text {
		t.Errorf("the program's argument is %q, want %q", got, text)
	}
	shown := read(t, cmd.Process.Pid, "cmdline")
	for _, token := range []string{"//other@", url.Token} {
		if strings.Contains(shown, token) {
			t.Errorf("the supervisor's arguments show %q", token)
		}
	}
	in.Close()
	wait(t, cmd)
}

// TestArgumentsKept gives the program arguments in which the join URL occurs.
func TestArgumentsKept(t *testing.T) {
	t.Parallel()
	for _, join := range []string{joinText, "@" + joinFile} {
		want := []string{"mail me" + join, join, "--join=" + join, "--join", join, "@",
			"boxer://", "*"}
		r := finish(t, exec.Command(boxer,
			append([]string{"run", "--join", join, "--", "printf", "%s\n"}, want...)...))
		if r.status != 0 || r.out != strings.Join(want, "\n")+"\n" {
			t.Errorf("status %d, the program's arguments are\n%s", r.status, r.out)
		}
	}
}

// TestJoinFileKept keeps BOXER_JOIN=@FILE in the program's environment: it is no secret.
func TestJoinFileKept(t *testing.T) {
	t.Parallel()
	if r := finish(t, boxed("sh", "-c", "echo $BOXER_JOIN")); r.out != "@"+joinFile+"\n" {
		t.Errorf("%+v", r)
	}
}

// TestEmptyJoin names a network by nothing, as $(cat FILE) does without that file.
func TestEmptyJoin(t *testing.T) {
	t.Parallel()
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, []byte("\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"run", "true"}, {"status"}, {"doctor"},
		{"forward", "0", "db:1"}} {
		for _, tc := range []struct{ flag, env, says string }{
			{env: "BOXER_JOIN=", says: "BOXER_JOIN is set but empty"},
			{flag: "--join=", says: "--join is set but empty"},
			{flag: "--join=@" + empty, says: "the file is empty"},
			{env: "BOXER_JOIN=@" + empty, says: "the file is empty"},
		} {
			args := []string{command[0]}
			if tc.flag != "" {
				args = append(args, tc.flag)
			}
			cmd := exec.Command(boxer, append(args, command[1:]...)...)
			if tc.env != "" {
				cmd.Env = append(os.Environ(), tc.env)
			}
			if r := finish(t, cmd); r.status != 125 || !strings.Contains(r.err, tc.says) {
				t.Errorf("%v %s: status %d, stderr %q; want %q", cmd.Args, tc.env,
					r.status, r.err, tc.says)
			}
		}
	}
}

// TestNotDumpable runs boxer as a user who may do nothing. The kernel gives the files in
// /proc of a process whose memory others may not read to root (proc(5)).
func TestNotDumpable(t *testing.T) {
	natlab.NeedUsers(t)
	const nobody = 65534
	dir, err := os.MkdirTemp("", "bx")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "boxer")
	if b, err := os.ReadFile(boxer); err != nil ||
		os.WriteFile(program, b, 0o755) != nil || os.Chmod(dir, 0o755) != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "run", "--", "sh", "-c", "echo ready; exec sleep 1000")
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "BOXER_JOIN=" + joinText,
		"HOME=" + dir}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody,
		Gid: nobody}}
	p := start(t, cmd)
	if got := p.line(); got != "ready" {
		t.Fatalf("the program says %q", got)
	}
	for pid, want := range map[int]uint32{cmd.Process.Pid: 0,
		programOf(t, cmd.Process.Pid): nobody} {
		var st unix.Stat_t
		if err := unix.Stat("/proc/"+itoa(pid)+"/environ", &st); err != nil ||
			st.Uid != want {
			t.Errorf("process %d: its files belong to user %d, %v; want %d", pid, st.Uid,
				err, want)
		}
	}
	p.signal(unix.SIGTERM)
	wait(t, cmd)
}
