package syscalls

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A program that shares the machine's mounts sees the machine's /proc/net. There,
// the calls by which fopen(3) opens a file for reading are trapped: O_RDONLY and
// no other flag, as the JVM, ifconfig, netstat and shells have it. Most other opens have
// a flag more, and go on untouched.

// largeFile is O_LARGEFILE of the kernel, which musl and 32-bit programs set. Go's
// constant is 0 where the kernel sets it by itself.
const largeFile = 0o100000 | 0o400000 // on x86, and on ARM

// plainOpen holds for flags without any of their own.
func plainOpen(flags uint) []Condition {
	return []Condition{{Arg: flags, Mask: ^uint32(largeFile), Equal: unix.O_RDONLY}}
}

// openat answers openat(2), and open2 open(2).
func (n *Node) openat(c Call) reply { return n.openPath(c, c.Ptr(1)) }
func (n *Node) open2(c Call) reply  { return n.openPath(c, c.Ptr(0)) }

// procNetPrefixes are the names of the folder that programs use. They are
// absolute: what a relative one means is the kernel's to tell.
var procNetPrefixes = []string{"/proc/net/", "/proc/self/net/", "/proc/thread-self/net/"}

// maxProcNet is more than the longest path of ProcNet's files has, in bytes.
const maxProcNet = 64

func (n *Node) openPath(c Call, at uintptr) reply {
	var b [maxProcNet]byte
	path, ok := readPath(c, at, b[:])
	if !ok {
		return passthrough
	}
	for _, prefix := range procNetPrefixes {
		name, ok := strings.CutPrefix(path, prefix)
		if !ok || !networkNamespace.has(c.TID()) || !atRoot(c.TID()) {
			continue
		}
		if content, ok := n.ProcNet()[name]; ok {
			return openContent(name, content)
		}
	}
	return passthrough
}

// atRoot reports whether a thread's root folder is the machine's: /proc is then what
// it seems. In another (chroot(2)) it may be anything.
func atRoot(tid int) bool {
	root, err := os.Readlink(fmt.Sprintf("/proc/%d/root", tid))
	return err == nil && root == "/"
}

// readPath reads a path that begins with /proc/ and fits into b.
func readPath(c Call, at uintptr, b []byte) (string, bool) {
	const proc = "/proc/"
	if c.ReadMemory(at, b[:len(proc)]) != nil || string(b[:len(proc)]) != proc {
		return "", false
	}
	// Not beyond the page: the next may not be there.
	size := len(b)
	if left := int(pageSize - at%pageSize); left < size && left > len(proc) {
		size = left
	}
	if c.ReadMemory(at, b[:size]) != nil {
		return "", false
	}
	end := bytes.IndexByte(b[:size], 0)
	if end < 0 && size < len(b) && c.ReadMemory(at, b) == nil {
		end = bytes.IndexByte(b, 0)
	}
	if end < 0 {
		return "", false
	}
	return string(b[:end]), true
}

// pageSize is the least that Linux has on the architectures of boxer, in bytes.
const pageSize = 4096

// openContent gives the program a file in memory, open for reading.
func openContent(name, content string) reply {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		return fail(err)
	}
	own, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	return descriptor(own, false, func() { linux.Close(own) })
}
