package launcher

import (
	"os"
	"os/exec"
	"runtime"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// inChild runs a test again in a process of its own, which does what f does and ends.
// It returns what that has printed.
func inChild(t *testing.T, f func(), env ...string) string {
	const mark = "BOXER_TEST_CHILD"
	if os.Getenv(mark) == t.Name() {
		f()
		os.Exit(0)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(append(os.Environ(), env...), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// TestKillTreeSpares kills the tree of a process that has an older child, as a boxer run
// which started the coordinator has.
func TestKillTreeSpares(t *testing.T) {
	out := inChild(t, func() {
		unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		older := exec.Command("sh", "-c", "sleep 60 & wait")
		younger := exec.Command("sh", "-c", "sleep 60 & sleep 60 & wait")
		if older.Start() != nil || younger.Start() != nil {
			println("not started")
			return
		}
		for len(descendants(older.Process.Pid)) < 1 ||
			len(descendants(younger.Process.Pid)) < 2 {
			time.Sleep(time.Millisecond) // until the shells have begun
		}
		killTree(nil, older.Process.Pid)
		if rest := descendants(os.Getpid(), older.Process.Pid); len(rest) > 0 {
			println("left:", len(rest))
		}
		if len(descendants(os.Getpid())) != 2 {
			println("the older child, or its own, has ended")
		}
		killTree(nil)
		if rest := descendants(os.Getpid()); len(rest) > 0 {
			println("left at the end:", len(rest))
		}
	})
	if out != "" {
		t.Error(out)
	}
}

// TestChildrenOfEndingThread starts children from threads that end right after that, as
// boxer-init does. A child is found while it moves from one thread to another.
func TestChildrenOfEndingThread(t *testing.T) {
	for range 100 {
		started, ended := make(chan *exec.Cmd), make(chan struct{})
		go func() {
			defer close(ended)
			runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
			cmd := exec.Command("cat")
			if _, err := cmd.StdinPipe(); err != nil {
				t.Error(err)
			}
			if err := cmd.Start(); err != nil {
				t.Error(err)
			}
			started <- cmd
		}()
		cmd := <-started
		for range 20 {
			if !slices.Contains(children(os.Getpid()), cmd.Process.Pid) {
				t.Error("a child was not found")
			}
		}
		<-ended
		cmd.Process.Kill()
		cmd.Wait()
	}
}
