package launcher

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// TestAttachRemovesAbandonedSockets holds that the control socket of a process that is
// gone is removed, and not that of one that has bound it and does not listen yet.
func TestAttachRemovesAbandonedSockets(t *testing.T) {
	t.Setenv("XDG_RUNTIME_DIR", t.TempDir())
	dir, err := coordinator.RuntimeDir()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	there := func(pid int) bool {
		_, err := os.Lstat(filepath.Join(dir, controlName(pid)))
		return err == nil
	}
	for _, pid := range []int{os.Getpid(), gone.Process.Pid} {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		path := filepath.Join(dir, controlName(pid))
		if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Attach("nobody", 0, Trace{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("attach: %v", err)
	}
	if !there(os.Getpid()) {
		t.Error("the socket of a process that starts is removed")
	}
	if there(gone.Process.Pid) {
		t.Error("the socket of a process that is gone is still there")
	}
}
