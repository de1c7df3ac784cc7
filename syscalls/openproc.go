package syscalls

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/sockdiag"
	"golang.org/x/sys/unix"
)

// The machine's /proc/net has the machine's interfaces and the kernel's addresses. A
// filter traps the opens that fopen(3) makes for reading: O_RDONLY and no other flag, as
// the JVM, ifconfig, netstat and shells use it. A filter cannot see the path. Most other
// opens have another flag and are not trapped.
//
// A rewritten program checks the path itself, so boxer takes all opens of these files,
// whatever their flags.
//
// Where boxer-init has mounted files over /proc/net, all opens there find the node's
// interfaces. The mount does not cover /proc/self/net and /proc/PID/net. It has no lists
// of sockets, because they change.

// largeFile is the kernel's O_LARGEFILE, which musl and 32-bit programs set. Go's
// constant is 0 where the kernel sets the flag by itself.
const largeFile = 0o100000 | 0o400000 // on x86, and on ARM

// plainOpen returns the condition that an argument has no flags besides O_RDONLY and
// O_LARGEFILE.
func plainOpen(flags uint) []Condition {
	return []Condition{{Arg: flags, Mask: ^uint32(largeFile), Equal: unix.O_RDONLY}}
}

// procNetOpen returns the conditions for opening a path that may be in /proc/net for
// reading.
func procNetOpen(path, flags uint) []Condition {
	return []Condition{{Arg: flags, Mask: unix.O_ACCMODE | unix.O_PATH, Equal: unix.O_RDONLY},
		{Arg: path, ProcNet: true}}
}

// openat answers openat(2); open2 answers open(2).
func (n *Node) openat(c Call) reply { return n.openPath(c, c.Ptr(1), c.Int(2)) }
func (n *Node) open2(c Call) reply  { return n.openPath(c, c.Ptr(0), c.Int(1)) }

// maxProcNet bounds the paths of ProcNet's files, in bytes.
const maxProcNet = 64

// openPath opens a file of ProcNet, or a list of sockets. The kernel handles other paths,
// relative paths, and flags that these files refuse.
func (n *Node) openPath(c Call, at uintptr, flags int) reply {
	const understood = unix.O_CLOEXEC | unix.O_NONBLOCK | unix.O_NOCTTY | unix.O_NOFOLLOW |
		largeFile
	if flags&^understood != unix.O_RDONLY {
		return passthrough
	}
	var b [maxProcNet]byte
	path, ok := readPath(c, at, b[:])
	if !ok {
		return passthrough
	}
	pid, name, ok := procNetName(path)
	if !ok || !networkNamespace.has(c.TID()) || !atRoot(c.TID()) ||
		pid != 0 && !(exists(pid) && networkNamespace.has(pid)) {
		return passthrough
	}
	if content, ok := n.ProcNet()[name]; ok {
		return openContent(name, content, flags)
	}
	if _, ok := sockdiag.Lists[name]; !ok {
		return passthrough
	}
	// The kernel walks through all sockets, which takes time.
	return async(func(context.Context, Call) reply {
		content, err := n.socketList(name)
		if err != nil {
			return fail(err)
		}
		return openContent(name, content, flags)
	})
}

// procNetName splits the absolute path of a file in a directory "net" of /proc. pid is
// the process or thread in the path, or 0 for the caller.
func procNetName(path string) (pid int, name string, ok bool) {
	rest, ok := strings.CutPrefix(path, "/proc/")
	if !ok {
		return 0, "", false
	}
	if name, ok := strings.CutPrefix(rest, "net/"); ok {
		return 0, name, true
	}
	of, name, ok := strings.Cut(rest, "/net/")
	if !ok {
		return 0, "", false
	}
	process, thread, isThread := strings.Cut(of, "/task/")
	if process != "self" && (process != "thread-self" || isThread) {
		if pid, ok = parsePID(process); !ok {
			return 0, "", false
		}
	}
	if isThread {
		pid, ok = parsePID(thread)
	}
	return pid, name, ok
}

// exists reports whether a process or thread exists.
func exists(pid int) bool {
	return unix.Access(fmt.Sprintf("/proc/%d", pid), unix.F_OK) == nil
}

// parsePID parses the name of a process's directory in /proc.
func parsePID(s string) (int, bool) {
	pid, err := strconv.Atoi(s)
	return pid, err == nil && pid > 0 && strconv.Itoa(pid) == s
}

// atRoot reports whether a thread's root directory is the machine's. In another one
// (chroot(2)), /proc may be anything.
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
	// Read only up to the end of the page: the next page may not be mapped.
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

// pageSize is the smallest page size of Linux on boxer's architectures, in bytes.
const pageSize = 4096

// openContent installs a descriptor of a file in memory, open for reading.
func openContent(name, content string, flags int) reply {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	if _, err := unix.Write(fd, []byte(content)); err != nil {
		return fail(err)
	}
	own, err := unix.Open("/proc/self/fd/"+strconv.Itoa(fd),
		unix.O_RDONLY|unix.O_CLOEXEC|flags&unix.O_NONBLOCK, 0)
	if err != nil {
		return fail(err)
	}
	return descriptor(own, flags&unix.O_CLOEXEC != 0, func() { linux.Close(own) })
}
