package rewrite

import (
	"errors"
	"os"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// TestKeptCall looks at a call when its program and the server have gone: package
// syscalls may.
func TestKeptCall(t *testing.T) {
	kept := make(chan *Call, 1)
	s, err := New(Config{Rules: []Rule{{Nr: unix.SYS_UNAME}}, CopyFD: copyFD})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() {
		served <- s.Serve(func(c *Call) {
			select {
			case kept <- c.Keep():
			default:
			}
			c.Continue()
		})
	}()
	l := &lab{s: s}
	l.run(t, "uname")
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
	c := <-kept
	s, l = nil, nil
	runtime.GC()
	if c.Pending() {
		t.Error("the call of a program that has ended is pending")
	}
	if err := c.Return(0); !errors.Is(err, ErrGone) {
		t.Errorf("Return: %v, want ErrGone", err)
	}
	if err := c.ReadMemory(0, make([]byte, 1)); err == nil {
		t.Error("ReadMemory has read")
	}
}

// TestAnswers answers uname(2) in all ways but the kernel's.
func TestAnswers(t *testing.T) {
	l := newLab(t, []Rule{{Nr: unix.SYS_UNAME}}, func(c *Call) {
		var name [390]byte // struct new_utsname: six names of 65 bytes
		copy(name[:], "Sys")
		if err := c.WriteMemory(c.Ptr(0), name[:]); err != nil {
			t.Error(err)
		}
		var back [3]byte
		if err := c.ReadMemory(c.Ptr(0), back[:]); err != nil ||
			string(back[:]) != "Sys" {
			t.Errorf("read %q: %v", back, err)
		}
		if err := c.ReadMemory(1, back[:]); !errors.Is(err, unix.EFAULT) {
			t.Errorf("read of address 1: %v", err)
		}
		c.Return(0)
		if err := c.Return(0); !errors.Is(err, ErrGone) {
			t.Errorf("second answer: %v", err)
		}
	})
	if got := l.run(t, "uname", "-s"); got != "Sys" {
		t.Errorf("uname prints %q", got)
	}
	failing := newLab(t, []Rule{{Nr: unix.SYS_UNAME}},
		func(c *Call) { c.Fail(unix.ENOTTY) })
	out, err := failing.command(t, "uname").CombinedOutput()
	if err == nil {
		t.Errorf("uname prints %q", out)
	}
	// Without the supervisor.
	ruled := newLab(t, []Rule{{Nr: unix.SYS_UNAME, Errno: unix.ENOTTY}},
		func(c *Call) { t.Error("the supervisor was asked") })
	if out, err := ruled.command(t, "uname").CombinedOutput(); err == nil {
		t.Errorf("uname prints %q", out)
	}
}

// TestSharesSlot looks for a slot in processes that have none.
func TestSharesSlot(t *testing.T) {
	for tid, self := range map[int]uint64{os.Getpid(): 4096, 1 << 22: 4096} {
		if sharesSlot(tid, self) {
			t.Errorf("process %d has a slot at %#x", tid, self)
		}
	}
	p := &slot{tid: uint32(os.Getpid())}
	if self := uint64(uintptr(unsafe.Pointer(p))); !sharesSlot(os.Getpid(), self) {
		t.Error("a slot that is there was not found")
	}
	p.tid++
	if self := uint64(uintptr(unsafe.Pointer(p))); sharesSlot(os.Getpid(), self) {
		t.Error("another thread's slot was taken for the process's own")
	}
	runtime.KeepAlive(p)
}
