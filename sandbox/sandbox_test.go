package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The test binary is also the program that is trapped: with childEnv set it
// runs one of these instead of the tests.
const childEnv = "SANDBOX_TEST_CHILD"

var children = map[string]func() error{
	"getppid": func() error {
		if got := unix.Getppid(); got != 4242 {
			return fmt.Errorf("getppid = %d, want 4242", got)
		}
		return nil
	},
	"fail": func() error {
		if err := unix.Sethostname([]byte("x")); !errors.Is(err, unix.EDOM) {
			return fmt.Errorf("sethostname = %v, want EDOM", err)
		}
		return nil
	},
	// memory: the supervisor turns the name upside down, in our memory.
	"memory": func() error {
		b := []byte("abcdef")
		if err := unix.Sethostname(b); err != nil {
			return err
		}
		if string(b) != "fedcba" {
			return fmt.Errorf("memory = %q, want fedcba", b)
		}
		return nil
	},
	"fault": func() error {
		_, _, errno := unix.Syscall(unix.SYS_SETHOSTNAME, 16, 4, 0)
		if errno != unix.EFAULT {
			return fmt.Errorf("sethostname(16) = %v, want EFAULT", errno)
		}
		return nil
	},
	// descriptor: the supervisor copies our pipe's end and installs a copy.
	"descriptor": func() error {
		var p [2]int
		if err := unix.Pipe(p[:]); err != nil {
			return err
		}
		fd, _, errno := unix.Syscall(unix.SYS_SETHOSTNAME, uintptr(p[1]), 0, 0)
		if errno != 0 {
			return errno
		}
		if fd == 0 {
			return errors.New("got descriptor 0")
		}
		if _, err := unix.Write(int(fd), []byte("x")); err != nil {
			return err
		}
		var b [1]byte
		if _, err := unix.Read(p[0], b[:]); err != nil || b[0] != 'x' {
			return fmt.Errorf("read %q, %v", b, err)
		}
		return nil
	},
	// tree: processes and threads under one filter.
	"tree": func() error {
		for range 3 {
			cmd := exec.Command("/proc/self/exe")
			cmd.Env = append(os.Environ(), childEnv+"=threads")
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		return nil
	},
	"threads": func() error {
		var wg sync.WaitGroup
		errs := make(chan error, 8)
		for range cap(errs) {
			wg.Go(func() {
				for range 200 {
					if got := unix.Getppid(); got != 4242 {
						errs <- fmt.Errorf("getppid = %d, want 4242", got)
						return
					}
				}
			})
		}
		wg.Wait()
		close(errs)
		return <-errs
	},
	// cost prints the nanoseconds that one trapped call takes.
	"cost": func() error {
		n, _ := strconv.Atoi(os.Getenv("N"))
		start := time.Now()
		for range n {
			unix.Getppid()
		}
		fmt.Println(time.Since(start).Nanoseconds() / int64(n))
		return nil
	},
	// copycost calls getpriority with a descriptor, for the supervisor to copy.
	"copycost": func() error {
		n, _ := strconv.Atoi(os.Getenv("N"))
		start := time.Now()
		for range n {
			unix.Syscall(unix.SYS_SETHOSTNAME, 1, 0, 0)
		}
		fmt.Println(time.Since(start).Nanoseconds() / int64(n))
		return nil
	},
}

func TestMain(m *testing.M) {
	if f, ok := children[os.Getenv(childEnv)]; ok {
		if err := f(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// The race detector has each of the children sleep for a second before it ends.
	os.Setenv("GORACE", "atexit_sleep_ms=0")
	os.Exit(m.Run())
}

// run starts the named child under a filter that traps getppid and
// sethostname, and answers with answer until the child's tree is gone.
func run(t testing.TB, name string, answer func(*Notif), env ...string) string {
	t.Helper()
	prog, err := Policy{{Nr: unix.SYS_GETPPID}, {Nr: unix.SYS_SETHOSTNAME}}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(append(os.Environ(), childEnv+"="+name), env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	f, err := StartFiltered(prog, cmd.Start)
	if err != nil {
		t.Fatal(err)
	}
	l, err := NewListener(f)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- l.Serve(answer) }()
	if err := cmd.Wait(); err != nil {
		t.Errorf("child %s: %v: %s", name, err, stderr.String())
	}
	select {
	case err := <-served:
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("Serve did not end with the last process under the filter")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return out.String()
}

func returns(t testing.TB, v uintptr) func(*Notif) {
	return func(n *Notif) {
		if err := n.Return(v); err != nil && err != ErrGone {
			t.Errorf("return: %v", err)
		}
	}
}

func TestReturn(t *testing.T)  { run(t, "getppid", returns(t, 4242)) }
func TestThreads(t *testing.T) { run(t, "threads", returns(t, 4242)) }
func TestTree(t *testing.T)    { run(t, "tree", returns(t, 4242)) }

func TestFail(t *testing.T) {
	run(t, "fail", func(n *Notif) { n.Fail(unix.EDOM) })
}

func TestAnswerElsewhere(t *testing.T) {
	var wg sync.WaitGroup
	run(t, "threads", func(n *Notif) {
		n = n.Clone()
		wg.Go(func() { n.Return(4242) })
	})
	wg.Wait()
}

// TestAnswerAfterClose answers a kept call after Close. The number of the listener's
// descriptor belongs to another listener by then, of which the call must know nothing.
func TestAnswerAfterClose(t *testing.T) {
	var kept *Notif
	run(t, "getppid", func(n *Notif) {
		if err := n.Return(4242); err != nil {
			t.Error(err)
		}
		n.alive = true // as after ReadMemory
		kept = n.Clone()
	})
	if kept == nil {
		t.Fatal("no call")
	}
	run(t, "getppid", func(n *Notif) {
		stale := *kept
		stale.raw.ID = n.raw.ID // IDs of two listeners may be the same
		stale.l.fd = n.l.fd
		if stale.Pending() {
			t.Error("a call of a closed listener is pending")
		}
		if err := stale.Return(1); !errors.Is(err, ErrGone) {
			t.Errorf("Return: %v", err)
		}
		if _, err := stale.InstallFD(0, true); !errors.Is(err, ErrGone) {
			t.Errorf("InstallFD: %v", err)
		}
		if err := stale.WriteMemory(1, []byte{1}); !errors.Is(err, ErrGone) {
			t.Errorf("WriteMemory: %v", err)
		}
		n.Return(4242)
	})
}

func TestMemory(t *testing.T) {
	run(t, "memory", func(n *Notif) {
		b := make([]byte, n.Uint(1))
		if err := n.ReadMemory(n.Ptr(0), b); err != nil {
			t.Error(err)
		}
		for i := range len(b) / 2 {
			b[i], b[len(b)-1-i] = b[len(b)-1-i], b[i]
		}
		if err := n.WriteMemory(n.Ptr(0), b); err != nil {
			t.Error(err)
		}
		n.Return(0)
	})
}

func TestFault(t *testing.T) {
	run(t, "fault", func(n *Notif) {
		err := n.ReadMemory(n.Ptr(0), make([]byte, n.Uint(1)))
		if !errors.Is(err, unix.EFAULT) {
			t.Errorf("read at 16: %v, want EFAULT", err)
		}
		if err := n.WriteMemory(n.Ptr(0), make([]byte, 4)); !errors.Is(err, unix.EFAULT) {
			t.Errorf("write at 16: %v, want EFAULT", err)
		}
		n.Fail(unix.EFAULT)
	})
}

func TestDescriptor(t *testing.T) {
	run(t, "descriptor", func(n *Notif) {
		if _, err := n.CopyFD(999); !errors.Is(err, unix.EBADF) {
			t.Errorf("copy of descriptor 999: %v, want EBADF", err)
		}
		fd, err := n.CopyFD(n.Int(0))
		if err != nil {
			t.Error(err)
			n.Fail(unix.EIO)
			return
		}
		defer unix.Close(fd)
		if _, err := n.InstallFD(fd, true); err != nil {
			t.Error(err)
			n.Fail(unix.EIO)
		}
	})
}

// The fallback for hosts that forbid process_vm_readv, tried on ourselves.
func TestMemoryThroughProc(t *testing.T) {
	want := []byte("through proc")
	got := make([]byte, len(want))
	addr := uintptr(unsafe.Pointer(&want[0]))
	err := throughProc(os.Getpid(), os.O_RDONLY, unix.EPERM, func(f *os.File) error {
		_, err := f.ReadAt(got, int64(addr))
		return err
	})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %q, %v", got, err)
	}
	err = throughProc(os.Getpid(), os.O_RDONLY, unix.EPERM, func(f *os.File) error {
		_, err := f.ReadAt(got, 16)
		return err
	})
	if !errors.Is(err, unix.EFAULT) {
		t.Errorf("read at 16: %v, want EFAULT", err)
	}
}

func TestProcessOf(t *testing.T) {
	if pid, err := processOf(unix.Gettid()); err != nil || pid != os.Getpid() {
		t.Errorf("got %d, %v; want %d", pid, err, os.Getpid())
	}
}

func TestProgramBytes(t *testing.T) {
	p, err := Policy{
		{Nr: unix.SYS_SENDTO, If: []Condition{NotNull(4)}},
		{Nr: unix.SYS_GETSOCKOPT, If: []Condition{IntEqual(1, 1), IntEqual(2, 4)}},
		{Nr: unix.SYS_IO_URING_SETUP, Errno: unix.ENOSYS},
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	q, err := ParseProgram(p.Bytes())
	if err != nil || len(q) != len(p) {
		t.Fatalf("%d instructions came back as %d, %v", len(p), len(q), err)
	}
	for i := range p {
		if p[i] != q[i] {
			t.Errorf("instruction %d: %v came back as %v", i, p[i], q[i])
		}
	}
	for n := range sockFilterSize {
		if _, err := ParseProgram(p.Bytes()[:n]); err == nil {
			t.Errorf("a program of %d bytes was accepted", n)
		}
	}
}

// BenchmarkTrap reports what one trapped call costs the program.
func BenchmarkTrap(b *testing.B) {
	cost := func(b *testing.B, name string, answer func(*Notif)) {
		ns, err := strconv.Atoi(string(bytes.TrimSpace([]byte(run(b, name, answer,
			"N="+strconv.Itoa(b.N))))))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(ns), "ns/call")
	}
	b.Run("return", func(b *testing.B) { cost(b, "cost", returns(b, 1)) })
	b.Run("continue", func(b *testing.B) { cost(b, "cost", func(n *Notif) { n.Continue() }) })
	b.Run("copyfd", func(b *testing.B) {
		cost(b, "copycost", func(n *Notif) {
			if fd, err := n.CopyFD(n.Int(0)); err == nil {
				unix.Close(fd)
			}
			n.Return(0)
		})
	})
	b.Run("elsewhere", func(b *testing.B) {
		cost(b, "cost", func(n *Notif) { n = n.Clone(); go n.Return(1) })
	})
}
