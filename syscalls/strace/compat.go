package strace

import (
	"slices"
	"strings"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

// SocketcallKey is the key in CompatCalls of the call that socketcall(2) makes for its
// first argument k.
func SocketcallKey(k uint32) uintptr { return 1<<16 | uintptr(k) }

// compatNames are the native names of calls that have other names in the 32-bit ABI,
// beside those that Numbers.native derives.
var compatNames = map[string]string{
	"_llseek": "lseek", "_newselect": "select", "fstatat64": "newfstatat",
	"waitpid":   "wait4",
	"sigaction": "rt_sigaction", "sigprocmask": "rt_sigprocmask",
	"sigreturn":  "rt_sigreturn",
	"sigsuspend": "rt_sigsuspend", "sigpending": "rt_sigpending",
	"signal":   "rt_sigaction",
	"sgetmask": "rt_sigprocmask", "ssetmask": "rt_sigprocmask", "umount": "umount2",
	"ugetrlimit": "getrlimit", "oldstat": "stat", "oldlstat": "lstat",
	"oldfstat": "fstat",
	"olduname": "uname", "oldolduname": "uname", "readdir": "getdents",
	"nice":  "setpriority",
	"stime": "clock_settime", "ipc": "semop", "send": "sendto", "recv": "recvfrom",
	"arm_fadvise64_64": "fadvise64", "fadvise64_64": "fadvise64", "bdflush": "sync",
	"arm_sync_file_range": "sync_file_range", "vm86": "ptrace", "vm86old": "ptrace",
	"mmap2": "mmap",
	// Linux has these numbers reserved and no call, as afs_syscall in the native ABI.
	"break": "afs_syscall", "ftime": "afs_syscall", "gtty": "afs_syscall",
	"idle": "afs_syscall",
	"lock": "afs_syscall", "mpx": "afs_syscall", "prof": "afs_syscall",
	"profil": "afs_syscall",
	"stty":   "afs_syscall", "ulimit": "afs_syscall",
}

// native returns the number of the native call with the meaning of a 32-bit one.
func (n Numbers) native(name string) (uintptr, bool) {
	for _, s := range [...]string{name, compatNames[name],
		strings.TrimSuffix(name, "_time64"),
		strings.TrimSuffix(name, "64"), strings.TrimSuffix(name, "32")} {
		if nr, ok := n.Native[s]; ok {
			return nr, true
		}
	}
	return 0, false
}

// CompatCalls returns the signatures of the calls of the 32-bit ABI that have the meaning
// of one of the native calls shown. The keys are their numbers, or SocketcallKey for the
// calls that socketcall(2) makes.
func CompatCalls(n Numbers, shown []uintptr) map[uintptr]*Signature {
	m := make(map[uintptr]*Signature)
	for name, number := range n.Compat {
		nr, ok := n.native(name)
		if ok && number != abi.SysSocketcall && slices.Contains(shown, nr) {
			sig := compatSignatureOf(name, strings.TrimSuffix(name, "_time64"))
			sig.Nr, sig.compat = nr, true
			sig.time64 = strings.HasSuffix(name, "_time64")
			m[number] = sig
		}
	}
	for k, s := range abi.Socketcalls {
		if slices.Contains(shown, s.Nr) {
			name := s.Name
			for native, nr := range n.Native {
				if name == "" && nr == s.Nr {
					name = native
				}
			}
			sig := compatSignatureOf(name, name)
			sig.Nr, sig.compat = s.Nr, true
			m[SocketcallKey(k)] = sig
		}
	}
	return m
}

// compatSignatureOf returns the signature of the call that has a name. Unless
// compatParams has it, its parameters are those of the native call base.
func compatSignatureOf(name, base string) *Signature {
	if params, ok := compatParams[name]; ok {
		return &Signature{name: name, params: params}
	}
	byName := signaturesByName()
	for _, s := range [...]string{base, compatNames[base], strings.TrimSuffix(base, "64"),
		strings.TrimSuffix(base, "32")} {
		if sig := byName[s]; sig != nil {
			return &Signature{name: name, params: sig.params, result: sig.result}
		}
	}
	return &Signature{name: name, params: unknownParams}
}

// compatParams are the parameters of calls that differ from those of the native call.
var compatParams = map[string][]param{
	"_llseek": {fdArg("fd"), {name: "offset", show: llseekOffset}, pointer2("result"),
		{name: "whence", show: llseekWhence}},
	"fadvise64": unknownParams, "fadvise64_64": unknownParams,
	"arm_fadvise64_64": unknownParams, "fallocate": unknownParams,
	"ftruncate64": {fdArg("fd"), wide("length", 1)},
	"ipc":         unknownParams,
	"mmap":        {pointer("args")}, // a struct mmap_arg_struct
	"mmap2": {pointer("addr"), size("length"), flagsOf("prot", protections),
		flagsOf("flags", mapFlags),
		fdSecond("fd"), {name: "offset",
			show: func(p *printer, i int) { p.hex(p.Args[i] << 12) }}},
	"nice":        {number("inc")},
	"oldolduname": {pointer("buf")},
	"pread64":     {fdArg("fd"), pointer("buf"), size("count"), wide("offset", 3)},
	"pwrite64":    {fdArg("fd"), bufferIn("buf"), size("count"), wide("offset", 3)},
	"readdir":     {fdArg("fd"), pointer("dirp"), size("count")},
	"recv": {fdArg("sockfd"), bufferOut("buf"), size("len"),
		flagsOf("flags", messageFlags)},
	"select": {pointer("args")}, // a struct sel_arg_struct
	"send": {fdArg("sockfd"), bufferIn("buf"), size("len"),
		flagsOf("flags", messageFlags)},
	"sgetmask":    nil,
	"sigaction":   {oneOf("signum", signals), pointer("act"), pointer("oldact")},
	"signal":      {oneOf("signum", signals), pointer("handler")},
	"sigpending":  {pointer("set")},
	"sigprocmask": {oneOf("how", maskHows), pointer("set"), pointer("oldset")},
	"sigsuspend":  unknownParams,
	"statfs64":    {path("path"), size("size"), pointer("buf")},
	"fstatfs64":   {fdArg("fd"), size("size"), pointer("buf")},
	"ssetmask":    {hexadecimal("newmask")},
	"stime":       {pointer("t")},
	"truncate64":  {path("path"), wide("length", 1)},
	"umount":      {path("target")},
	"waitpid":     {number("pid"), pointer("wstatus"), flagsOf("options", waitOptions)},
}

// wide is an argument of 64 bits, in two registers. others is the number of arguments
// before it.
func wide(name string, others int) param {
	return param{name: name, show: func(p *printer, _ int) {
		i := wideArg(others)
		p.dec(int64(p.Args[i+1]<<32 | p.Args[i]))
	}}
}

// The arguments of _llseek(2) are the descriptor, the upper and the lower half of the
// offset, a pointer to the result, and whence.

func llseekOffset(p *printer, _ int) { p.dec(int64(p.Args[1]<<32 | p.Args[2])) }

func llseekWhence(p *printer, _ int) { p.b = seekWhences.value(p.b, p.Args[4]) }

// pointer2 is a pointer one register later, since the argument before it takes two.
func pointer2(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.address(p.ptr(i + 1)) }}
}

// layout returns the layout of the caller's structures.
func (s *Syscall) layout() *abi.Layout {
	if s.sig != nil && s.sig.compat {
		return &abi.Compat
	}
	return &abi.Native
}

// timespecSize returns the size of the caller's struct timespec in bytes.
func (s *Syscall) timespecSize() int {
	if s.sig != nil && s.sig.compat && !s.sig.time64 {
		return 2 * 4
	}
	return 2 * 8
}
