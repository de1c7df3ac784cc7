package launcher

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestProgramEnv(t *testing.T) {
	for _, tc := range []struct {
		name           string
		environ        []string
		notify         string
		wantEnv, wantO []string
	}{
		{"no manager", []string{"HOME=/", "X"}, "", []string{"HOME=/", "X"}, nil},
		{"socket activation", []string{"LISTEN_FDS=2", "LISTEN_PID=41",
			"LISTEN_PIDFDID=9"}, "", []string{"LISTEN_FDS=2"}, []string{"LISTEN_PID"}},
		{"watchdog", []string{"WATCHDOG_PID=41", "WATCHDOG_USEC=5",
			"SYSTEMD_EXEC_PID=41"}, "", []string{"WATCHDOG_USEC=5"},
			[]string{"WATCHDOG_PID", "SYSTEMD_EXEC_PID"}},
		{"another's", []string{"LISTEN_PID=42", "WATCHDOG_PID=4", "SYSTEMD_EXEC_PID="},
			"", []string{"LISTEN_PID=42", "WATCHDOG_PID=4", "SYSTEMD_EXEC_PID="}, nil},
		{"notifications", []string{"NOTIFY_SOCKET=/run/systemd/notify"}, "/tmp/s",
			[]string{"NOTIFY_SOCKET=/tmp/s"}, nil},
		{"notifications to a host", []string{"NOTIFY_SOCKET=vsock:2:9"}, "",
			[]string{"NOTIFY_SOCKET=vsock:2:9"}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			env, own := programEnv(tc.environ, 41, tc.notify)
			if !slices.Equal(env, tc.wantEnv) || !slices.Equal(own, tc.wantO) {
				t.Errorf("got %q, %q, want %q, %q", env, own, tc.wantEnv, tc.wantO)
			}
		})
	}
}

// TestSpawn looks at what a program starts with: its pid in the environment, its
// signals, and the limit that Go's own fork(2) would give it.
func TestSpawn(t *testing.T) {
	cp, err := exec.LookPath("cp")
	if err != nil {
		t.Skip(err)
	}
	start := func(f func(argv []string) int) map[string]string {
		dir := t.TempDir()
		pid := f([]string{"cp", "-t", dir, "/proc/self/environ", "/proc/self/status",
			"/proc/self/limits"})
		var ws unix.WaitStatus
		if _, err := unix.Wait4(pid, &ws, 0, nil); err != nil || ws.ExitStatus() != 0 {
			t.Fatalf("status %v, %v", ws, err)
		}
		got := map[string]string{"pid": strconv.Itoa(pid)}
		for _, name := range []string{"environ", "status", "limits"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			got[name] = string(b)
		}
		return got
	}
	got := start(func(argv []string) int {
		pid, err := spawn(cp, argv, []string{"OTHER=other"}, []string{"OWN_PID", "OWN"},
			1<<(unix.SIGUSR2-1))
		if err != nil {
			t.Fatal(err)
		}
		return pid
	})
	want := start(func(argv []string) int {
		pid, err := syscall.ForkExec(cp, argv,
			&syscall.ProcAttr{Files: []uintptr{0, 1, 2}})
		if err != nil {
			t.Fatal(err)
		}
		return pid
	})
	if env := "OTHER=other\x00OWN_PID=" + got["pid"] + "\x00OWN=" + got["pid"] +
		"\x00"; got["environ"] != env {
		t.Errorf("environ is %q, want %q", got["environ"], env)
	}
	if got["limits"] != want["limits"] {
		t.Errorf("limits are\n%swant\n%s", got["limits"], want["limits"])
	}
	for _, line := range []string{"SigBlk:\t0000000000000800\n",
		"SigCgt:\t0000000000000000\n", lineOf(want["status"], "SigIgn:")} {
		if !strings.Contains(got["status"], line) {
			t.Errorf("no %q in\n%s", line, got["status"])
		}
	}
}

// lineOf returns the line of a text that begins so.
func lineOf(text, prefix string) string {
	for l := range strings.Lines(text) {
		if strings.HasPrefix(l, prefix) {
			return l
		}
	}
	return prefix
}

func TestSpawnFails(t *testing.T) {
	dir := t.TempDir()
	script := filepath.Join(dir, "script")
	if err := os.WriteFile(script, []byte("exit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]error{dir: syscall.EACCES,
		filepath.Join(dir, "none"): syscall.ENOENT, script: syscall.ENOEXEC} {
		if pid, err := spawn(path, []string{path}, nil, []string{"LISTEN_PID"},
			0); err != want {
			t.Errorf("%s: got pid %d, %v, want %v", path, pid, err, want)
		}
	}
	if b, err := os.ReadFile("/proc/thread-self/children"); err == nil &&
		strings.TrimSpace(string(b)) != "" {
		t.Errorf("children are left: %s", b)
	}
}

func TestDescends(t *testing.T) {
	cmd := exec.Command("sh", "-c", "read x; true")
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer stdin.Close()
	if !descends(cmd.Process.Pid, os.Getpid()) || !descends(os.Getpid(), os.Getppid()) {
		t.Error("a child is no descendant of " + strconv.Itoa(os.Getpid()))
	}
	if descends(os.Getppid(), os.Getpid()) || descends(1, os.Getpid()) ||
		descends(0, os.Getpid()) {
		t.Error("a process descends from its child")
	}
}
