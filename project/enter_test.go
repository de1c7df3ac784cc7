package project

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// supervisorEnv has the test binary start a process as a supervisor does, and wait. Its
// value is the process's order.
const supervisorEnv = "BOXER_TEST_SUPERVISOR"

// sleeper is a program that says its pid, and then lives longer than any test.
var sleeper = []string{"/bin/sh", "-c", "echo $$; exec sleep 600"}

func TestMain(m *testing.M) {
	if IsEnter() {
		fmt.Fprintln(os.Stderr, Enter())
		os.Exit(exitBoxer)
	}
	if order := os.Getenv(supervisorEnv); order != "" {
		cmd := enterCommand([]byte(order), sleeper...)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		if err := newSpawner().start(cmd); err != nil {
			panic(err)
		}
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

// enterCommand returns the command that runs a program in a view of files.
func enterCommand(order []byte, argv ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = append([]string{EnterName, argv[0]}, argv...)
	cmd.Stdin, cmd.SysProcAttr = bytes.NewReader(order), namespaces()
	return cmd
}

func marshal(t *testing.T, o enterOrder) []byte {
	t.Helper()
	b, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestReadOnlyBelow writes to a file system that is mounted below a read-only volume.
func TestReadOnlyBelow(t *testing.T) {
	data, volume := t.TempDir(), t.TempDir()
	below := filepath.Join(data, "below")
	order := marshal(t, enterOrder{Space: Space{Mounts: []Mount{
		{Source: data, Target: data}, {Target: below},
		{Source: data, Target: volume, ReadOnly: true},
	}}})
	for path, writable := range map[string]bool{
		filepath.Join(below, "file"):           true,
		filepath.Join(volume, "file"):          false,
		filepath.Join(volume, "below", "file"): false,
	} {
		out, err := enterCommand(order, "/bin/sh", "-c",
			"true >"+path+" && echo written").CombinedOutput()
		if (err == nil) != writable ||
			!writable && !strings.Contains(string(out), "Read-only file system") {
			t.Errorf("%s: %v, %s; want it written: %v", path, err, out, writable)
		}
	}
}

// TestEnterEndsWithSupervisor kills the supervisor of programs that have views of files.
// The programs end with it, also those of another user.
func TestEnterEndsWithSupervisor(t *testing.T) {
	t.Run("same user", func(t *testing.T) { endsWithSupervisor(t, nil) })
	t.Run("another user", func(t *testing.T) {
		natlab.NeedUsers(t)
		endsWithSupervisor(t, &User{UID: 65534, GID: 65534})
	})
}

func endsWithSupervisor(t *testing.T, u *User) {
	t.Helper()
	supervisor := exec.Command("/proc/self/exe")
	supervisor.Env = append(os.Environ(),
		supervisorEnv+"="+string(marshal(t, enterOrder{User: u, Dir: "/"})))
	supervisor.Stderr = os.Stderr
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	supervisor.Stdout = w
	err = supervisor.Start()
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	out := bufio.NewReader(r)
	line, err := out.ReadString('\n')
	_ = supervisor.Process.Kill()
	_ = supervisor.Wait()
	if err != nil {
		t.Fatalf("%q, %v; want the program's pid", line, err)
	}
	// The pipe ends with the last process that has it: the program.
	_ = r.SetReadDeadline(time.Now().Add(patience))
	if _, err := out.ReadByte(); !errors.Is(err, io.EOF) {
		t.Errorf("%v: the program outlives its supervisor", err)
		if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil {
			_ = unix.Kill(pid, unix.SIGKILL)
		}
	}
}
