package syscalls

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestUname(t *testing.T) {
	s := boxedScript(t)
	var want unix.Utsname
	if err := unix.Uname(&want); err != nil {
		t.Fatal(err)
	}
	const field = 65
	b, p := s.a.mem.take(6*field+8, []byte(strings.Repeat("x", 6*field+8)))
	if _, errno := s.a.call(os.Getpid(), unix.SYS_UNAME, p); errno != 0 {
		t.Fatal(errno)
	}
	for i, want := range []string{unix.ByteSliceToString(want.Sysname[:]), "a",
		unix.ByteSliceToString(want.Release[:]),
		unix.ByteSliceToString(want.Version[:]), unix.ByteSliceToString(want.Machine[:]),
		unix.ByteSliceToString(want.Domainname[:])} {
		if got := unix.ByteSliceToString(b[i*field : (i+1)*field]); got != want {
			t.Errorf("field %d = %q, want %q", i, got, want)
		}
	}
	if got := string(b[6*field:]); got != "xxxxxxxx" {
		t.Errorf("behind struct utsname: %q", got)
	}
	if _, errno := s.a.call(os.Getpid(), unix.SYS_UNAME, 16); errno != unix.EFAULT {
		t.Errorf("uname at a wild address: %v", errno)
	}
}

// TestSethostname renames a node whose programs share the machine's UTS namespace.
func TestSethostname(t *testing.T) {
	s := boxedScript(t)
	self := os.Getpid()
	if !mayAdminister(self) {
		t.Skip("needs root")
	}
	before, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	_, name := s.a.mem.take(80, []byte("renamed"))
	for _, tc := range []struct {
		size  uintptr
		errno unix.Errno
	}{{7, 0}, {65, unix.EINVAL}, {^uintptr(0), unix.EINVAL}} {
		if _, errno := s.a.call(self, unix.SYS_SETHOSTNAME, name,
			tc.size); errno != tc.errno {
			t.Errorf("%d bytes: %v, want %v", int(tc.size), errno, tc.errno)
		}
	}
	if _, errno := s.a.call(self, unix.SYS_SETHOSTNAME, 16, 5); errno != unix.EFAULT {
		t.Errorf("a wild address: %v", errno)
	}
	b, p := s.a.mem.take(6*65, nil)
	if _, errno := s.a.call(self, unix.SYS_UNAME, p); errno != 0 ||
		unix.ByteSliceToString(b[65:130]) != "renamed" {
		t.Errorf("the node is %q, %v", b[65:130], errno)
	}
	if after, err := os.Hostname(); err != nil || after != before {
		t.Errorf("the machine was %q and is %q, %v", before, after, err)
	}
}

// TestNamespaces asks about a process that has left a namespace, as containers do.
func TestNamespaces(t *testing.T) {
	if !utsNamespace.has(os.Getpid()) || !networkNamespace.has(os.Getpid()) {
		t.Error("this process is not in its own namespaces")
	}
	if !utsNamespace.has(1 << 30) { // nobody
		t.Error("a process that cannot be seen counts as a stranger")
	}
	cmd := exec.Command("unshare", "--uts", "sh", "-c", "echo there; read end")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	var word [6]byte
	if _, err := out.Read(word[:]); err != nil {
		in.Close()
		t.Skip("unshare --uts: ", err, cmd.Wait())
	}
	if utsNamespace.has(cmd.Process.Pid) {
		t.Error("a process that has left the UTS namespace is taken to be in it")
	}
	in.Close()
	cmd.Wait()
}
