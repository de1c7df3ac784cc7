package syscalls

import (
	"net/netip"
	"os"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// linkNode is a node of which only the interfaces are asked.
func linkNode() *Node {
	return &Node{Config: Config{Addr: netip.MustParseAddr("10.111.0.2"),
		Prefix: netip.MustParsePrefix("10.111.0.0/16")}}
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
		{"/proc/net/tcp", false},
		{"/proc/net/", false},
		{"/proc/", false},
		{"/proc/1/net/dev", false},
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
