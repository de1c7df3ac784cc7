package rewrite

import (
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"
)

// sockaddr4 returns a struct sockaddr_in.
func sockaddr4(port uint16, addr [4]byte) []byte {
	return append(append([]byte{unix.AF_INET, 0, byte(port >> 8), byte(port)}, addr[:]...),
		make([]byte, 8)...)
}

// TestNames lets the hook answer getsockname(2) for sockets that the supervisor has
// described, as long as they are as they were.
func TestNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names")
	if out, err := exec.Command("gcc", "-O1", "-o", path,
		"testdata/names.c").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var asked atomic.Int64
	var l *lab
	var listener uint64
	l = newLab(t, []Rule{{Nr: unix.SYS_GETSOCKNAME}, {Nr: unix.SYS_UNAME}}, func(c *Call) {
		defer c.Continue()
		if c.Nr() == unix.SYS_UNAME {
			l.s.ForgetNames(listener)
			return
		}
		asked.Add(1)
		count := l.s.ForgetCount()
		fd, err := c.CopyFD(c.Int(0))
		if err != nil {
			return // "no descriptor"
		}
		defer unix.Close(fd)
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		if err != nil {
			t.Error(err)
		}
		n := SocketNames{OwnName: sockaddr4(99, [4]byte{10, 1, 2, 3})}
		own, err := unix.Getsockname(fd)
		if err != nil {
			t.Error(err)
		}
		in := own.(*unix.SockaddrInet4)
		n.Own = sockaddr4(uint16(in.Port), in.Addr)
		if listener == 0 {
			listener = cookie
		}
		if far, err := unix.Getpeername(fd); err == nil {
			in := far.(*unix.SockaddrInet4)
			n.Far = sockaddr4(uint16(in.Port), in.Addr)
			n.OwnName = sockaddr4(100, [4]byte{10, 1, 2, 4})
		}
		l.s.SetNames(cookie, count+1, SocketNames{}) // too late: without effect
		l.s.SetNames(cookie, count, n)
	})
	l.s.AnswerNames(true)
	got := strings.Split(l.run(t, path), "\n")
	want := []string{"unknown: 127.0.0.1", "known: 10.1.2.3:99, 16",
		"no room: 0.0.0.0:0, 16", "little room: 0.0.0.0:99, 16",
		"negative: Invalid argument", "no address: Bad address", "no size: Bad address",
		// There the hook cannot look at the size. It asks, and the kernel answers.
		"end of a page: ", "no descriptor: Bad file descriptor",
		"another: 0.0.0.0:0, 16"}
	for i, line := range want {
		if i < len(got) && !strings.HasPrefix(got[i], line) {
			t.Errorf("got %q, want %q", got[i], line)
		}
	}
	if len(got) != 13 {
		t.Fatalf("%q", got)
	}
	if !strings.HasPrefix(got[10], "connected: 127.0.0.1:") ||
		got[11] != "once more: 10.1.2.4:100, 16" {
		t.Errorf("after connect: %q, %q", got[10], got[11])
	}
	if !strings.HasPrefix(got[12], "forgotten: 127.0.0.1:") {
		t.Errorf("after ForgetNames: %q", got[12])
	}
	// unknown, no size, end of a page, no descriptor, another, connected, forgotten
	if n := asked.Load(); n != 7 {
		t.Errorf("the supervisor was asked %d times, want 7:\n%s", n, strings.Join(got, "\n"))
	}
	l.s.AnswerNames(false)
	asked.Store(0)
	l.run(t, path)
	if n := asked.Load(); n != 13 {
		t.Errorf("switched off, the supervisor was asked %d times, want 13", n)
	}
}
