package strace

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// watchedCalls are calls that boxer leaves to the kernel, and shows if asked to.
// What a pointer points to is shown as it is the moment before the call: another
// thread may change it before the kernel looks. Calls of the sets that have no
// row are shown with their registers.
var watchedCalls = []Signature{
	// Files by name.
	{name: "access", params: []param{path("pathname"), flagsOf("mode", accessChecks)}},
	{name: "chdir", params: []param{path("path")}},
	{name: "chmod", params: []param{path("pathname"), octal("mode")}},
	{name: "chown", params: []param{path("pathname"), number("owner"), number("group")}},
	{name: "chroot", params: []param{path("path")}},
	{name: "creat", params: []param{path("pathname"), octal("mode")}},
	{name: "execve", params: []param{path("pathname"), stringList("argv"), counted("envp")}},
	{name: "execveat", params: []param{dirFD("dirfd"), path("pathname"),
		stringList("argv"), counted("envp"), flagsOf("flags", atFlags)}},
	{name: "faccessat", params: []param{dirFD("dirfd"), path("pathname"),
		flagsOf("mode", accessChecks)}},
	{name: "faccessat2", params: []param{dirFD("dirfd"), path("pathname"),
		flagsOf("mode", accessChecks), flagsOf("flags", atFlags)}},
	{name: "fchmodat", params: []param{dirFD("dirfd"), path("pathname"), octal("mode")}},
	{name: "fchownat", params: []param{dirFD("dirfd"), path("pathname"), number("owner"),
		number("group"), flagsOf("flags", atFlags)}},
	{name: "getcwd", params: []param{pointer("buf"), size("size")}},
	{name: "inotify_add_watch", params: []param{fdArg("fd"), path("pathname"),
		hexadecimal("mask")}},
	{name: "lchown", params: []param{path("pathname"), number("owner"), number("group")}},
	{name: "link", params: []param{path("oldpath"), path("newpath")}},
	{name: "linkat", params: []param{dirFD("olddirfd"), path("oldpath"),
		dirFD("newdirfd"), path("newpath"), flagsOf("flags", atFlags)}},
	{name: "lstat", params: []param{path("pathname"), pointer("statbuf")}},
	{name: "mkdir", params: []param{path("pathname"), octal("mode")}},
	{name: "mkdirat", params: []param{dirFD("dirfd"), path("pathname"), octal("mode")}},
	{name: "mount", params: []param{path("source"), path("target"),
		path("filesystemtype"), hexadecimal("mountflags"), pointer("data")}},
	{name: "newfstatat", params: []param{dirFD("dirfd"), path("pathname"),
		pointer("statbuf"), flagsOf("flags", atFlags)}},
	{name: "open", params: []param{path("pathname"), openFlag("flags"), createMode("mode", 1)}},
	{name: "openat", params: []param{dirFD("dirfd"), path("pathname"), openFlag("flags"),
		createMode("mode", 2)}},
	{name: "openat2", params: []param{dirFD("dirfd"), path("pathname"), pointer("how"),
		size("size")}},
	{name: "readlink", params: []param{path("pathname"), pointer("buf"), size("bufsiz")}},
	{name: "readlinkat", params: []param{dirFD("dirfd"), path("pathname"), pointer("buf"),
		size("bufsiz")}},
	{name: "rename", params: []param{path("oldpath"), path("newpath")}},
	{name: "renameat", params: []param{dirFD("olddirfd"), path("oldpath"),
		dirFD("newdirfd"), path("newpath")}},
	{name: "renameat2", params: []param{dirFD("olddirfd"), path("oldpath"),
		dirFD("newdirfd"), path("newpath"), hexadecimal("flags")}},
	{name: "rmdir", params: []param{path("pathname")}},
	{name: "stat", params: []param{path("pathname"), pointer("statbuf")}},
	{name: "statfs", params: []param{path("path"), pointer("buf")}},
	{name: "statx", params: []param{dirFD("dirfd"), path("pathname"),
		flagsOf("flags", atFlags), hexadecimal("mask"), pointer("statxbuf")}},
	{name: "symlink", params: []param{path("target"), path("linkpath")}},
	{name: "symlinkat", params: []param{path("target"), dirFD("newdirfd"), path("linkpath")}},
	{name: "truncate", params: []param{path("path"), size("length")}},
	{name: "umount2", params: []param{path("target"), hexadecimal("flags")}},
	{name: "unlink", params: []param{path("pathname")}},
	{name: "unlinkat", params: []param{dirFD("dirfd"), path("pathname"),
		flagsOf("flags", atFlags)}},
	{name: "utimensat", params: []param{dirFD("dirfd"), path("pathname"),
		pointer("times"), flagsOf("flags", atFlags)}},

	// Processes and signals.
	{name: "arch_prctl", params: []param{hexadecimal("code"), hexadecimal("addr")}},
	{name: "clone", params: []param{{name: "stack", show: cloneStack},
		{name: "flags", show: cloneFlag}}},
	{name: "clone3", params: []param{pointer("cl_args"), size("size")}},
	{name: "exit", params: []param{number("status")}},
	{name: "exit_group", params: []param{number("status")}},
	{name: "fork"},
	{name: "getpid"},
	{name: "getppid"},
	{name: "gettid"},
	{name: "kill", params: []param{number("pid"), oneOf("sig", signals)}},
	{name: "pause"},
	{name: "pidfd_open", params: []param{number("pid"), hexadecimal("flags")}},
	{name: "pidfd_send_signal", params: []param{fdArg("pidfd"), oneOf("sig", signals),
		pointer("info"), hexadecimal("flags")}},
	{name: "prctl", params: []param{oneOf("option", processOptions), hexadecimal("arg2"),
		hexadecimal("arg3"), hexadecimal("arg4"), hexadecimal("arg5")}},
	{name: "prlimit64", params: []param{number("pid"), oneOf("resource", limits),
		pointer("new_limit"), pointer("old_limit")}},
	{name: "rt_sigaction", params: []param{oneOf("signum", signals), pointer("act"),
		pointer("oldact"), size("sigsetsize")}},
	{name: "rt_sigprocmask", params: []param{oneOf("how", maskHows), pointer("set"),
		pointer("oldset"), size("sigsetsize")}},
	{name: "rt_sigqueueinfo", params: []param{number("tgid"), oneOf("sig", signals),
		pointer("info")}},
	{name: "rt_sigreturn"},
	{name: "rt_sigsuspend", params: []param{pointer("mask"), size("sigsetsize")}},
	{name: "sigaltstack", params: []param{pointer("ss"), pointer("old_ss")}},
	{name: "tgkill", params: []param{number("tgid"), number("tid"), oneOf("sig", signals)}},
	{name: "tkill", params: []param{number("tid"), oneOf("sig", signals)}},
	{name: "vfork"},
	{name: "wait4", params: []param{number("pid"), pointer("wstatus"),
		flagsOf("options", waitOptions), pointer("rusage")}},
	{name: "waitid", params: []param{oneOf("idtype", waitTypes), number("id"),
		pointer("infop"), flagsOf("options", waitOptions), pointer("rusage")}},

	// Descriptors.
	{name: "close", params: []param{fdArg("fd")}},
	{name: "close_range", params: []param{size("first"), size("last"), hexadecimal("flags")}},
	{name: "dup", params: []param{fdArg("oldfd")}},
	{name: "dup2", params: []param{fdArg("oldfd"), number("newfd")}},
	{name: "dup3", params: []param{fdArg("oldfd"), number("newfd"), flagsOf("flags", openFlags)}},
	{name: "epoll_create1", params: []param{flagsOf("flags", epollFlags)}},
	{name: "epoll_ctl", params: []param{fdArg("epfd"), oneOf("op", epollOps),
		fdSecond("fd"), pointer("event")}},
	{name: "epoll_pwait", params: []param{fdArg("epfd"), pointer("events"),
		number("maxevents"), number("timeout"), pointer("sigmask"), size("sigsetsize")}},
	{name: "epoll_wait", params: []param{fdArg("epfd"), pointer("events"),
		number("maxevents"), number("timeout")}},
	{name: "eventfd2", params: []param{number("initval"), flagsOf("flags", eventFlags)}},
	{name: "fchdir", params: []param{fdArg("fd")}},
	{name: "fchmod", params: []param{fdArg("fd"), octal("mode")}},
	{name: "fchown", params: []param{fdArg("fd"), number("owner"), number("group")}},
	{name: "fcntl", params: []param{fdArg("fd"), oneOf("cmd", fcntlCommands),
		{name: "arg", show: fcntlArg}}},
	{name: "fdatasync", params: []param{fdArg("fd")}},
	{name: "flock", params: []param{fdArg("fd"), hexadecimal("operation")}},
	{name: "fstat", params: []param{fdArg("fd"), pointer("statbuf")}},
	{name: "fsync", params: []param{fdArg("fd")}},
	{name: "ftruncate", params: []param{fdArg("fd"), size("length")}},
	{name: "getdents64", params: []param{fdArg("fd"), pointer("dirp"), size("count")}},
	{name: "ioctl", params: []param{fdArg("fd"), hexadecimal("request"), hexadecimal("arg")}},
	{name: "lseek", params: []param{fdArg("fd"), signed("offset"), oneOf("whence", seekWhences)}},
	{name: "memfd_create", params: []param{path("name"), flagsOf("flags", memfdFlags)}},
	{name: "pipe", params: []param{pointer("pipefd")}},
	{name: "pipe2", params: []param{pointer("pipefd"), flagsOf("flags", openFlags)}},
	{name: "poll", params: []param{pointer("fds"), size("nfds"), number("timeout")}},
	{name: "ppoll", params: []param{pointer("fds"), size("nfds"), timespecIn("tmo_p"),
		pointer("sigmask"), size("sigsetsize")}},
	{name: "pread64", params: []param{fdArg("fd"), pointer("buf"), size("count"),
		signed("offset")}},
	{name: "preadv", params: []param{fdArg("fd"), pointer("iov"), number("iovcnt"),
		signed("offset")}},
	{name: "pwrite64", params: []param{fdArg("fd"), bufferIn("buf"), size("count"),
		signed("offset")}},
	{name: "pwritev", params: []param{fdArg("fd"), pointer("iov"), number("iovcnt"),
		signed("offset")}},
	{name: "read", params: []param{fdArg("fd"), pointer("buf"), size("count")}},
	{name: "readv", params: []param{fdArg("fd"), pointer("iov"), number("iovcnt")}},
	{name: "select", params: []param{number("nfds"), pointer("readfds"),
		pointer("writefds"), pointer("exceptfds"), pointer("timeout")}},
	{name: "sendfile", params: []param{fdArg("out_fd"), fdSecond("in_fd"),
		pointer("offset"), size("count")}},
	{name: "splice", params: []param{fdArg("fd_in"), pointer("off_in"),
		fdSecond("fd_out"), pointer("off_out"), size("len"), hexadecimal("flags")}},
	{name: "timerfd_create", params: []param{number("clockid"), hexadecimal("flags")}},
	{name: "timerfd_settime", params: []param{fdArg("fd"), hexadecimal("flags"),
		pointer("new_value"), pointer("old_value")}},
	{name: "write", params: []param{fdArg("fd"), bufferIn("buf"), size("count")}},
	{name: "writev", params: []param{fdArg("fd"), pointer("iov"), number("iovcnt")}},

	// Memory.
	{name: "brk", params: []param{pointer("addr")}},
	{name: "madvise", params: []param{pointer("addr"), size("length"), oneOf("advice", advices)}},
	{name: "mlock", params: []param{pointer("addr"), size("len")}},
	{name: "mmap", params: []param{pointer("addr"), size("length"),
		flagsOf("prot", protections), flagsOf("flags", mapFlags), fdSecond("fd"),
		hexadecimal("offset")}},
	{name: "mprotect", params: []param{pointer("addr"), size("len"), flagsOf("prot", protections)}},
	{name: "mremap", params: []param{pointer("old_address"), size("old_size"),
		size("new_size"), flagsOf("flags", remapFlags), pointer("new_address")}},
	{name: "msync", params: []param{pointer("addr"), size("length"), hexadecimal("flags")}},
	{name: "munmap", params: []param{pointer("addr"), size("length")}},

	// Others that are common.
	{name: "uname", params: []param{pointer("buf")}},
	{name: "sethostname", params: []param{path("name"), size("len")}},
	{name: "nanosleep", params: []param{timespecIn("req"), pointer("rem")}},
	{name: "clock_nanosleep", params: []param{number("clockid"), hexadecimal("flags"),
		timespecIn("request"), pointer("remain")}},
	{name: "getuid"}, {name: "geteuid"}, {name: "getgid"}, {name: "getegid"},
	{name: "sched_yield"},
	{name: "futex", params: []param{pointer("uaddr"), hexadecimal("futex_op"),
		number("val"), pointer("timeout"), pointer("uaddr2"), number("val3")}},
	{name: "getrandom", params: []param{pointer("buf"), size("buflen"), hexadecimal("flags")}},
}

func pointer(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.address(p.ptr(i)) }}
}

func octal(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.octal(uint32(p.Args[i])) }}
}

func (p *printer) octal(v uint32) {
	p.text("0")
	if v != 0 {
		p.b = strconv.AppendUint(p.b, uint64(v), 8)
	}
}

func signed(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		v := int64(p.Args[i])
		if p.sig.compat {
			v = int64(int32(v))
		}
		p.dec(v)
	}}
}

// fdSecond is a descriptor that the call is not mainly about.
func fdSecond(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.descriptor(p.int(i)) }}
}

func dirFD(name string) param {
	return param{name: name, fd: false, show: func(p *printer, i int) {
		if p.int(i) == unix.AT_FDCWD {
			p.text("AT_FDCWD")
			return
		}
		p.descriptor(p.int(i))
	}}
}

// maxString bounds how much of a string is read, in bytes: PATH_MAX.
const maxString = 4096

// fetchString has a string taken down. It reads to the end of the page first: what
// lies beyond may not be there.
func (f fetcher) fetchString(addr uintptr) {
	if addr == 0 {
		return
	}
	const page = 4096
	for n := 0; n < maxString; {
		step := min(256, page-int((addr+uintptr(n))%page))
		b, ok := f.fetch(addr+uintptr(n), step)
		if !ok {
			return
		}
		for _, ch := range b {
			if ch == 0 {
				return
			}
		}
		n += step
	}
}

// stringAt shows a string of the program's, at most so much of it; 0 is all.
func (p *printer) stringAt(addr uintptr, limit int) {
	if addr == 0 {
		p.text("NULL")
		return
	}
	var s []byte
	for found := true; found; {
		found = false
		at := addr + uintptr(len(s))
		for _, k := range p.pieces {
			if !k.after && at >= k.addr && at < k.addr+uintptr(k.len) {
				b := p.buf[k.at+int(at-k.addr) : k.at+k.len]
				if t := untilNUL(b); len(t) < len(b) {
					s = append(s, t...)
				} else {
					s, found = append(s, b...), true
				}
				break
			}
		}
		if len(s) == 0 && !found {
			break
		}
	}
	if s == nil {
		if b, ok := p.view(addr, 1, false); !ok || b[0] != 0 {
			p.address(addr)
			return
		}
	}
	more := limit > 0 && len(s) > limit
	if more {
		s = s[:limit]
	}
	p.b = appendQuoted(p.b, s)
	if more {
		p.text("...")
	}
}

func path(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) { f.fetchString(f.ptr(i)) },
		show: func(p *printer, i int) { p.stringAt(p.ptr(i), 0) },
	}
}

// shownStrings is how many strings of an array are shown, as strace does.
const shownStrings = 32

// stringList is an array of strings that ends with NULL: the arguments of a program.
func stringList(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) {
			l := f.layout()
			for k := range shownStrings {
				b, ok := f.fetch(f.ptr(i)+uintptr(l.Word*k), l.Word)
				if !ok {
					return
				}
				at := uintptr(l.WordAt(b, 0))
				if at == 0 {
					return
				}
				f.fetchString(at)
			}
		},
		show: func(p *printer, i int) {
			l := p.layout()
			if _, ok := p.view(p.ptr(i), l.Word, false); !ok {
				p.address(p.ptr(i))
				return
			}
			p.text("[")
			for k := range shownStrings + 1 {
				b, ok := p.view(p.ptr(i)+uintptr(l.Word*k), l.Word, false)
				if ok && l.WordAt(b, 0) == 0 {
					break
				}
				if k > 0 {
					p.text(", ")
				}
				if !ok {
					p.text("...")
					break
				}
				p.stringAt(uintptr(l.WordAt(b, 0)), max(shownText, p.payload))
			}
			p.text("]")
		},
	}
}

// maxCounted bounds how many variables of an environment are counted.
const maxCounted = 512

// counted is the environment: it may hold secrets, so only its size is shown.
func counted(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) {
			const step = 32
			l := f.layout()
			for k := 0; k < maxCounted; k += step {
				b, ok := f.fetch(f.ptr(i)+uintptr(l.Word*k), l.Word*step)
				if !ok { // the end of the stack: one by one
					for j := range step {
						if b, ok := f.fetch(f.ptr(i)+uintptr(l.Word*(k+j)),
							l.Word); !ok || l.WordAt(b, 0) == 0 {
							return
						}
					}
					return
				}
				for j := range step {
					if l.WordAt(b, l.Word*j) == 0 {
						return
					}
				}
			}
		},
		show: func(p *printer, i int) {
			p.address(p.ptr(i))
			if p.ptr(i) == 0 {
				return
			}
			l, n := p.layout(), 0
			for ; n < maxCounted; n++ {
				if b, ok := p.view(p.ptr(i)+uintptr(l.Word*n), l.Word, false); !ok ||
					l.WordAt(b, 0) == 0 {
					break
				}
			}
			p.text(" /* ")
			p.dec(int64(n))
			p.text(" vars */")
		},
	}
}

func openFlag(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		v := uint64(uint32(p.Args[i]))
		p.b = accessModes.value(p.b, v&unix.O_ACCMODE)
		if v &^= unix.O_ACCMODE; v != 0 {
			p.text("|")
			p.b = openFlags.flags(p.b, v)
		}
	}}
}

// createMode is shown if the flags, which are the given argument, ask for a new file.
func createMode(name string, flags int) param {
	return param{name: name, show: func(p *printer, i int) {
		if p.Args[flags]&unix.O_CREAT != 0 ||
			p.Args[flags]&unix.O_TMPFILE == unix.O_TMPFILE {
			p.octal(uint32(p.Args[i]))
		}
	}}
}

func cloneStack(p *printer, _ int) {
	p.text("child_stack=")
	p.address(p.ptr(1))
}

func cloneFlag(p *printer, _ int) {
	v := p.Args[0]
	p.text("flags=")
	if rest := v &^ 0xff; rest != 0 {
		p.b = cloneFlags.flags(p.b, rest)
		if v&0xff != 0 {
			p.text("|")
		}
	}
	if v&0xff != 0 || v == 0 {
		p.b = signals.value(p.b, v&0xff)
	}
}

// fcntlArg depends on the command; many have none.
func fcntlArg(p *printer, i int) {
	switch int(p.Args[1]) {
	case unix.F_GETFD, unix.F_GETFL, unix.F_GETOWN, unix.F_GETSIG, unix.F_GETLEASE,
		unix.F_GETPIPE_SZ, unix.F_GET_SEALS:
	case unix.F_SETFD:
		if p.Args[i] == unix.FD_CLOEXEC {
			p.text("FD_CLOEXEC")
			return
		}
		p.hex(p.Args[i])
	case unix.F_SETFL:
		v := uint64(uint32(p.Args[i]))
		p.b = accessModes.value(p.b, v&unix.O_ACCMODE)
		if v &^= unix.O_ACCMODE; v != 0 {
			p.text("|")
			p.b = openFlags.flags(p.b, v)
		}
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_SETOWN, unix.F_SETSIG,
		unix.F_SETPIPE_SZ:
		p.dec(int64(p.int(i)))
	default:
		p.hex(p.Args[i])
	}
}
