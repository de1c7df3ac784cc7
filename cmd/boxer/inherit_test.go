package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestInherited compares what a program finds when boxer has started it with what it
// finds when it was started without. (Not the same: where standard input, output or error
// is closed, the program has /dev/null there, by Go's runtime.)
func TestInherited(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, tc := range []struct {
		name string
		argv []string
		set  func(*exec.Cmd)
		sh   string // the shell runs this first
	}{
		{name: "arguments", argv: []string{"cat", "/proc/self/cmdline", "--", "a b", ""}},
		{name: "argument 0", argv: []string{"sh", "-c", "tr '\\0' ' ' </proc/$$/cmdline; echo $0"}},
		{name: "environment", argv: []string{"env", "-0"}, set: func(c *exec.Cmd) {
			c.Env = append(os.Environ(), "EMPTY=", "SPACE= a  b ", "LINES=a\nb",
				"TWICE=1", "ODD", "ä=ü")
		}},
		{name: "almost no environment", argv: []string{"/usr/bin/env"},
			set: func(c *exec.Cmd) {
				c.Env = []string{"BOXER_JOIN=@" + joinFile}
			}},
		{name: "directory", argv: []string{"sh", "-c", "pwd; pwd -P"},
			set: func(c *exec.Cmd) { c.Dir = dir }},
		{name: "umask", sh: "umask 027", argv: []string{"sh", "-c", "umask"}},
		{name: "limits", sh: "ulimit -Sn 512; ulimit -Sc 0; ulimit -Ss 4096; ulimit -Su 30000", argv: []string{"cat", "/proc/self/limits"}},
		{name: "niceness", sh: "renice -n 5 $$ >/dev/null", argv: []string{"nice"}},
		{name: "signals", argv: []string{"grep", "^Sig[BI]\\|^ShdPnd", "/proc/self/status"}},
		{name: "ignored signals", sh: "trap '' HUP INT USR1 PIPE CHLD TSTP 40",
			argv: []string{"grep", "^Sig[BI]", "/proc/self/status"}},
		{name: "process group and session", argv: []string{"sh", "-c", `read -r line </proc/$$/stat; set -- $line; test $6 = $(cut -d' ' -f6 /proc/$PPID/stat); echo $? $7`}},
		{name: "out-of-memory score", sh: "echo 300 >/proc/self/oom_score_adj",
			argv: []string{"cat", "/proc/self/oom_score_adj"}},
		{name: "user", argv: []string{"grep", "^[UG]id\\|^Groups\\|^Cap", "/proc/self/status"}},
		{name: "standard input", sh: "exec </etc/passwd", argv: []string{"cat"}},
		{name: "standard error", argv: []string{"sh", "-c", "echo out; echo err >&2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			start := func(wrap func(...string) *exec.Cmd) result {
				cmd := wrap(tc.argv...)
				if tc.sh != "" {
					cmd = bare(append([]string{"sh", "-c", tc.sh + "\n" + `exec "$@"`, "sh"}, cmd.Args...)...)
				}
				if tc.set != nil {
					tc.set(cmd)
				}
				return finish(t, cmd)
			}
			if want, got := start(bare), start(boxed); got != want {
				t.Errorf("with boxer %+v\nwithout    %+v", got, want)
			}
		})
	}
}

// TestInheritedMask blocks signals; the program has to find them blocked.
func TestInheritedMask(t *testing.T) {
	status := func(wrap func(...string) *exec.Cmd) result {
		var r result
		done := make(chan struct{})
		go func() { // on a thread that ends with it
			defer close(done)
			runtime.LockOSThread()
			var set unix.Sigset_t
			for _, s := range []unix.Signal{unix.SIGUSR2, unix.SIGTERM, unix.SIGWINCH,
				unix.SIGCHLD, 42} {
				set.Val[0] |= 1 << (s - 1)
			}
			if err := unix.PthreadSigmask(unix.SIG_BLOCK, &set, nil); err != nil {
				t.Error(err)
				return
			}
			r = finish(t, wrap("grep", "^Sig[BI]", "/proc/self/status"))
		}()
		<-done
		return r
	}
	want, got := status(bare), status(boxed)
	if got != want {
		t.Errorf("with boxer %+v\nwithout    %+v", got, want)
	}
	if strings.Contains(want.out, "SigBlk:\t0000000000000000") {
		t.Error("the test has blocked nothing")
	}
}

// TestInheritedFiles compares the descriptors: those that boxer was given reach the
// program under their numbers, those of boxer's own do not.
func TestInheritedFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	open := func(name string) *os.File {
		f, err := os.Create(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		return f
	}
	three, four := open("three"), open("four")
	number := regexp.MustCompile(`/proc/\d+/`)
	list := func(name string, wrap func(...string) *exec.Cmd) string {
		cmd := wrap("ls", "-l", "--time-style=+", "/proc/self/fd")
		out := open("out")
		cmd.Stdin, cmd.Stdout, cmd.Stderr = three, out, four
		cmd.ExtraFiles = []*os.File{three, four, nil, three} // 3, 4, 6
		if r := finish(t, cmd); r.status != 0 {
			t.Fatalf("%s: status %d", name, r.status)
		}
		b, err := os.ReadFile(out.Name())
		if err != nil {
			t.Fatal(err)
		}
		return number.ReplaceAllString(string(b), "/proc/PID/")
	}
	want, got := list("bare", bare), list("boxer", boxed)
	if got != want {
		t.Errorf("with boxer:\n%s\nwithout:\n%s", got, want)
	}
	for _, name := range []string{"3 -> " + dir + "/three", "4 -> " + dir + "/four",
		"6 -> " + dir + "/three"} {
		if !strings.Contains(want, name) {
			t.Errorf("the test has given no %s:\n%s", name, want)
		}
	}
}

// TestInheritedFileIsClosed has the program close a descriptor that it was given: nobody
// else is to hold it.
func TestInheritedFileIsClosed(t *testing.T) {
	t.Parallel()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := boxed("sh", "-c", "exec 3>&-; read line")
	cmd.ExtraFiles = []*os.File{w}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	r.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("read: %d, %v; want the end, while the program runs", n, err)
	}
	io.WriteString(in, "end\n")
	if status := wait(t, cmd); status != 0 {
		t.Errorf("status %d", status)
	}
}

// TestInput gives the program its standard input, and gets its output.
func TestInput(t *testing.T) {
	t.Parallel()
	text := strings.Repeat(fmt.Sprintln("a line"), 100_000)
	cmd := boxed("cat")
	cmd.Stdin = strings.NewReader(text)
	if r := finish(t, cmd); r.status != 0 || r.out != text || r.err != "" {
		t.Errorf("status %d, %d of %d bytes, stderr %q", r.status, len(r.out), len(text), r.err)
	}
}
