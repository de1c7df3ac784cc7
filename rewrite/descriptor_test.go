package rewrite

import (
	"errors"
	"os"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// TestInstallFD answers socket(2) with a pipe, and with the lowest number that is free.
func TestInstallFD(t *testing.T) {
	var mu sync.Mutex
	var numbers []int
	var errs []error
	l := newLab(t, []Rule{{Nr: unix.SYS_SOCKET}}, func(c *Call) {
		r, w, err := os.Pipe()
		if err != nil {
			t.Error(err)
			return
		}
		w.WriteString("from the supervisor")
		w.Close()
		n, err := c.InstallFD(int(r.Fd()), c.Int(1)&unix.SOCK_CLOEXEC != 0)
		r.Close()
		mu.Lock()
		numbers, errs = append(numbers, n), append(errs, err)
		mu.Unlock()
		if errors.Is(err, unix.EMFILE) {
			c.Fail(unix.EMFILE)
		}
	})
	const script = `import fcntl, os, resource, socket
a = socket.socket(); print(a.fileno(), os.read(a.fileno(), 99).decode(), fcntl.fcntl(a, fcntl.F_GETFD))
os.close(0); b = socket.socket(); print(b.fileno())
c = [os.open("/dev/null", os.O_RDONLY) for _ in range(5)]
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (max(c) + 2, hard))
d = socket.socket(); print(d.fileno() - max(c), resource.getrlimit(resource.RLIMIT_NOFILE)[0] - max(c))
try: socket.socket()
except OSError as e: print(e.errno)`
	if got, want := l.run(t, "/usr/bin/python3", "-c", script),
		"3 from the supervisor 1\n0\n1 2\n24"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	mu.Lock()
	defer mu.Unlock()
	// Each of these calls is answered on a goroutine of its own. The program continues
	// before that goroutine does, so the order is not the program's.
	slices.Sort(numbers)
	if want := []int{-1, 0, 3}; len(numbers) != 4 || !slices.Equal(numbers[:3], want) {
		t.Errorf("the supervisor was told %v, want %v and one more", numbers, want)
	}
	if refused := slices.DeleteFunc(errs,
		func(err error) bool { return err == nil }); len(refused) != 1 ||
		!errors.Is(refused[0], unix.EMFILE) {
		t.Errorf("errors %v, want one EMFILE", refused)
	}
}

// TestCopyFD reads from the program's own pipe.
func TestCopyFD(t *testing.T) {
	l := newLab(t, []Rule{{Nr: unix.SYS_LISTEN}}, func(c *Call) {
		fd, err := c.CopyFD(c.Int(0))
		if err != nil {
			t.Error(err)
			c.Fail(unix.EIO)
			return
		}
		defer unix.Close(fd)
		if _, err := c.CopyFD(1000); !errors.Is(err, unix.EBADF) {
			t.Errorf("CopyFD(1000): %v", err)
		}
		if err := unix.Listen(fd, 1); err != nil {
			t.Error(err)
		}
		c.Return(0)
	})
	const script = `import socket
s = socket.socket(); s.listen(1)
c = socket.create_connection(s.getsockname()); print("listens")`
	if got := l.run(t, "/usr/bin/python3", "-c", script); got != "listens" {
		t.Errorf("got %q", got)
	}
}

// TestPIDNamespace answers a program in a PID namespace of its own, whose numbers of
// threads are those of other processes here: 1 is this machine's init.
func TestPIDNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("a PID namespace takes root")
	}
	l := newLab(t, []Rule{{Nr: unix.SYS_UNAME}, {Nr: unix.SYS_LISTEN}}, func(c *Call) {
		if c.Nr() == unix.SYS_LISTEN {
			fd, err := c.CopyFD(c.Int(0))
			if err == nil {
				err = unix.Listen(fd, 1)
				unix.Close(fd)
			}
			if err != nil {
				t.Error(err)
				c.Fail(unix.EIO)
				return
			}
			c.Return(0)
			return
		}
		var name [390]byte
		copy(name[:], "Sys")
		if err := c.WriteMemory(c.Ptr(0), name[:]); err != nil {
			t.Error(err)
		}
		if !c.Pending() {
			t.Error("the call is not pending")
		}
		c.Return(0)
	})
	const script = `import os, socket, sys
libc = __import__("ctypes").CDLL(None)
if libc.unshare(0x20000000): sys.exit("unshare")
pid = os.fork()
if pid == 0:
    for _ in range(3):
        if os.fork() == 0: os.uname(); os._exit(0)
        os.wait()
    s = socket.socket(); s.listen(1); socket.create_connection(s.getsockname())
    print(os.getpid(), os.uname().sysname, flush=True)
    os._exit(0)
sys.exit(os.waitpid(pid, 0)[1])`
	if got := l.run(t, "/usr/bin/python3", "-c", script); got != "1 Sys" {
		t.Errorf("got %q", got)
	}
}
