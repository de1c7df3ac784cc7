package syscalls

import (
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linkNode is a node of which only the interfaces are asked.
func linkNode() *Node {
	return &Node{core: core{Config: Config{Addr: netip.MustParseAddr("10.111.0.2"),
		Prefix: netip.MustParsePrefix("10.111.0.0/16")}}}
}

// sixNode is linkNode with an IPv6 address.
func sixNode() *Node {
	n := linkNode()
	n.Addr6, n.Prefix6 = netip.MustParseAddr("fd6f:7865:72::a6f:2"),
		netip.MustParsePrefix("fd6f:7865:72::/64")
	return n
}

// TestOpenProcNet opens files by their names in a program's memory, some at the end
// of what is mapped.
func TestOpenProcNet(t *testing.T) {
	// A path names this thread, which has to be there until the end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 2*page, unix.PROT_READ|unix.PROT_WRITE,
		unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(mem)
	if err := unix.Mprotect(mem[page:], unix.PROT_NONE); err != nil {
		t.Fatal(err)
	}
	n := sixNode()
	for _, tc := range []struct {
		path   string
		opened bool
	}{
		{"/proc/net/if_inet6", true},
		{"/proc/self/net/dev", true},
		{"/proc/thread-self/net/ipv6_route", true},
		{"/proc/net/unix", false},
		{"/proc/net/", false},
		{"/proc/", false},
		{fmt.Sprintf("/proc/%d/net/dev", os.Getpid()), true},
		{fmt.Sprintf("/proc/%d/task/%d/net/igmp", os.Getpid(), unix.Gettid()), true},
		{fmt.Sprintf("/proc/self/task/%d/net/arp", unix.Gettid()), true},
		{"/proc/4194305/net/dev", false}, // more than a pid may be
		{"/proc/0/net/dev", false},
		{"/proc/thread-self/task/1/net/dev", false},
		{"/proc/self/../net/dev", false},
		{"/proc/sys/net/dev", false},
		{"/etc/hosts", false},
		{"x", false},
		{"", false},
		{"/proc/net/" + strings.Repeat("x", maxProcNet), false},
	} {
		b := append([]byte(tc.path), 0)
		at := mem[page-len(b) : page]
		copy(at, b)
		c := newFakeCall(t, os.Getpid(), unix.SYS_OPENAT, 0,
			uintptr(unsafe.Pointer(unsafe.SliceData(at))))
		r := n.openat(c)
		if (r.kind == replyFD) != tc.opened || !tc.opened && r.kind != replyContinue {
			t.Errorf("%q: %+v", tc.path, r)
		}
		if r.kind != replyFD {
			continue
		}
		f := os.NewFile(uintptr(r.fd), tc.path)
		got := make([]byte, 8192)
		size, err := f.Read(got)
		want := n.ProcNet()[tc.path[strings.LastIndexByte(tc.path, '/')+1:]]
		if err != nil || string(got[:size]) != want {
			t.Errorf("%s: %v, got %q, want %q", tc.path, err, got[:size], want)
		}
		if _, err := f.WriteString("x"); err == nil {
			t.Errorf("%s can be written to", tc.path)
		}
		f.Close()
	}
}

// TestOpenProcNetFlags opens a file with flags that it takes, and leaves others to the
// kernel.
func TestOpenProcNetFlags(t *testing.T) {
	n := sixNode()
	path := []byte("/proc/self/net/dev\x00")
	at := uintptr(unsafe.Pointer(&path[0]))
	for _, tc := range []struct {
		flags   int
		opened  bool
		cloexec bool
	}{
		{unix.O_RDONLY, true, false},
		{unix.O_RDONLY | unix.O_CLOEXEC, true, true},
		{unix.O_RDONLY | unix.O_NONBLOCK | largeFile, true, false},
		{unix.O_WRONLY, false, false},
		{unix.O_RDWR | unix.O_CLOEXEC, false, false},
		{unix.O_RDONLY | unix.O_DIRECTORY, false, false},
		{unix.O_PATH, false, false},
		{unix.O_RDONLY | unix.O_TRUNC, false, false},
	} {
		r := n.openat(newFakeCall(t, os.Getpid(), unix.SYS_OPENAT, 0, at, uintptr(tc.flags)))
		if (r.kind == replyFD) != tc.opened || r.cloexec != tc.cloexec {
			t.Errorf("flags %#o: %+v", tc.flags, r)
		}
		if r.kind != replyFD {
			continue
		}
		got, err := unix.FcntlInt(uintptr(r.fd), unix.F_GETFL, 0)
		if want := tc.flags & unix.O_NONBLOCK; err != nil || got&unix.O_NONBLOCK != want {
			t.Errorf("flags %#o: the file has %#o, %v", tc.flags, got, err)
		}
		unix.Close(r.fd)
	}
	runtime.KeepAlive(path)
}

// TestOpenSocketList opens lists of sockets, which take time.
func TestOpenSocketList(t *testing.T) {
	aliases, err := ClaimAliases()
	if err != nil {
		t.Fatal(err)
	}
	defer aliases.Release()
	n, err := NewNode(Config{Hostname: "a", Addr: addrA, Prefix: prefix, Aliases: aliases,
		Network: newFakeNet()})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, name := range []string{"tcp", "tcp6", "udp", "udp6"} {
		path := append([]byte("/proc/net/"+name), 0)
		c := newFakeCall(t, os.Getpid(), unix.SYS_OPENAT, 0,
			uintptr(unsafe.Pointer(unsafe.SliceData(path))))
		r := n.openat(c)
		if r.kind != replyWait {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		if r = r.wait(t.Context(), c); r.kind != replyFD {
			t.Errorf("%s: %+v", name, r)
			continue
		}
		var b [64]byte
		got, err := unix.Read(r.fd, b[:])
		r.undo()
		if err != nil || !strings.Contains(string(b[:got]), "local_address") {
			t.Errorf("%s: %q, %v", name, b[:got], err)
		}
	}
}
