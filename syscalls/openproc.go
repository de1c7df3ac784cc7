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

// A program that shares the machine's mounts sees the machine's /proc/net. There, a
// filter traps the calls by which fopen(3) opens a file for reading: O_RDONLY and no
// other flag, as the JVM, ifconfig, netstat and shells open it. A filter cannot see the
// path. Most other opens have a flag more, and are not trapped.
//
// A program that is rewritten looks at the path itself, so that all opens of these files
// are taken, whatever their flags, also where /proc/net is mounted: that does not cover
// /proc/self/net and /proc/PID/net.

// largeFile is the kernel's O_LARGEFILE, which musl and 32-bit programs set. Go's
// constant is 0 where the kernel sets the flag by itself.
const largeFile = 0o100000 | 0o400000 // on x86, and on ARM

// plainOpen returns the condition that an argument has no other flags.
func plainOpen(flags uint) []Condition {
	return []Condition{{Arg: flags, Mask: ^uint32(largeFile), Equal: unix.O_RDONLY}}
}

// procNetOpen holds for opens for reading of what the path may name.
func procNetOpen(path, flags uint) []Condition {
	return []Condition{{Arg: flags, Mask: unix.O_ACCMODE | unix.O_PATH, Equal: unix.O_RDONLY},
		{Arg: path, ProcNet: true}}
}

// openat answers openat(2), and open2 open(2).
func (n *Node) openat(c Call) reply { return n.openPath(c, c.Ptr(1), c.Int(2)) }
func (n *Node) open2(c Call) reply  { return n.openPath(c, c.Ptr(0), c.Int(1)) }

// maxProcNet is more than the longest path of ProcNet's files has, in bytes.
const maxProcNet = 64

// openPath opens a file of ProcNet. Other paths, flags that these files refuse, and
// relative paths are the kernel's.
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
	return passthrough
}

// procNetName splits an absolute path of a file in a folder "net" of /proc: that of all,
// of the thread or process that calls, or of the process or thread pid; 0 is who calls.
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

// exists reports whether there is a process or thread.
func exists(pid int) bool {
	return unix.Access(fmt.Sprintf("/proc/%d", pid), unix.F_OK) == nil
}

// parsePID reads the name of a process's folder in /proc.
func parsePID(s string) (int, bool) {
	pid, err := strconv.Atoi(s)
	return pid, err == nil && pid > 0 && strconv.Itoa(pid) == s
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
