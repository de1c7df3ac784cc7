package natlab_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

func TestMain(m *testing.M) {
	if how := os.Getenv(endEnv); how != "" {
		os.Exit(end(how))
	}
	natlab.Main(m)
}

// endEnv makes this test binary a program that uses Inside and ends as the variable says.
const endEnv = "NATLAB_TEST_END"

// endings are the ways in which main ends.
var endings = map[string]func() int{
	"returns": func() int { return 7 },
	"exits":   func() int { os.Exit(9); return 0 },
	"panics":  func() int { panic("as planned") },
	"kills":   func() int { _ = unix.Kill(os.Getpid(), unix.SIGKILL); select {} },
	"waits":   func() int { time.Sleep(time.Hour); return 0 },
}

// end starts a process on a host of a lab, that only SIGKILL ends and that has stdout,
// and ends.
func end(how string) int {
	status, err := natlab.Inside(func() int {
		if err := startStubborn(context.Background()); err != nil {
			fmt.Println(err)
			return 1
		}
		return endings[how]()
	})
	if err != nil {
		fmt.Println(err)
		return 1
	}
	return status
}

func startStubborn(ctx context.Context) error {
	lab, err := natlab.New(ctx)
	if err != nil {
		return err
	}
	h, err := lab.Public(ctx, "h")
	if err != nil {
		return err
	}
	ready, up, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ready.Close()
	defer up.Close()
	cmd := h.Command(ctx, "sh", "-c", `trap "" INT TERM HUP QUIT; echo up >&3; exec sleep 1000 3>&-`)
	cmd.Stdout, cmd.ExtraFiles = os.Stdout, []*os.File{up}
	if err := cmd.Start(); err != nil {
		return err
	}
	line, err := bufio.NewReader(ready).ReadString('\n')
	fmt.Print(line)
	return err
}

func TestInsideEnds(t *testing.T) {
	natlab.ForTest(t) // for its conditions
	for _, tc := range []struct {
		how    string
		signal unix.Signal // sent to the process that called Inside when the lab is up
		status int
	}{
		{how: "returns", status: 7},
		{how: "exits", status: 9},
		{how: "panics", status: 2},
		{how: "kills", status: 128 + 9},
		{how: "waits", signal: unix.SIGTERM, status: 128 + 15},
		{how: "waits", signal: unix.SIGKILL, status: -1}, // itself killed
	} {
		t.Run(fmt.Sprint(tc.how, " ", tc.signal), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), soon)
			defer cancel()
			cmd := exec.CommandContext(ctx, "/proc/self/exe", "an argument",
				"-test.run=none")
			// as if it were the first
			cmd.Env = append(os.Environ(), endEnv+"="+tc.how, "BOXER_NATLAB=none")
			var stderr strings.Builder
			cmd.Stderr = &stderr
			stdout, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out := bufio.NewReader(stdout)
			if line, err := out.ReadString('\n'); line != "up\n" {
				t.Errorf("printed %q, %v", line, err)
			}
			if tc.signal != 0 {
				if err := cmd.Process.Signal(tc.signal); err != nil {
					t.Fatal(err)
				}
			}
			// The stubborn process has stdout too, so this ends when both have.
			if rest, err := io.ReadAll(out); err != nil || len(rest) > 0 {
				t.Errorf("printed %q after, %v", rest, err)
			}
			_ = cmd.Wait() // the status tells
			if ctx.Err() != nil {
				t.Error("something outlived the program")
			}
			if got := cmd.ProcessState.ExitCode(); got != tc.status {
				t.Errorf("status %d, want %d: %s", got, tc.status, &stderr)
			}
		})
	}
}

func TestInsideIsPrivate(t *testing.T) {
	lab := natlab.ForTest(t)
	for _, dir := range []string{"/run", "/dev/shm"} {
		var st unix.Statfs_t
		if err := unix.Statfs(dir, &st); err != nil || st.Type != unix.TMPFS_MAGIC {
			t.Errorf("%s: type %#x, %v", dir, st.Type, err)
		}
	}
	// An orphan is reaped: its parent is process 1 then, and it does not stay as a
	// zombie.
	pid := output(t, public(t, lab, "h").Command(t.Context(), "sh", "-c",
		"sleep 0 >&- 2>&- & echo $!"))
	// nobody but its parent is told
	for start := time.Now(); ; time.Sleep(time.Millisecond) {
		if _, err := os.Stat("/proc/" + pid); err != nil {
			break
		}
		if time.Since(start) > soon {
			t.Fatalf("process %s is still there", pid)
		}
	}
}
