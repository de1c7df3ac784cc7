package syscalls

import (
	"maps"
	"slices"
	"strings"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

// Calls of the 32-bit ABI in traces. A call is shown under its own name, such as mmap2,
// where the native call that it means is shown.

// Numbers has the numbers of system calls by their names: those of this architecture's
// own ABI and those of its 32-bit ABI.
type Numbers struct{ Native, Compat map[string]uintptr }

// A compatSignature is how a call of the 32-bit ABI is shown.
type compatSignature struct {
	nr     uintptr // of the native call that it means
	sig    *signature
	time64 bool // its struct timespec is the native one
}

// socketcallKey is the key in Tracing.compat of one of the calls that socketcall(2) has.
func socketcallKey(k uint32) uintptr { return 1<<16 | uintptr(k) }

// compatNames are the native names of calls that the 32-bit ABI calls otherwise. The rule
// in native has more of them.
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
	// Calls that Linux has never had, with others of that kind.
	"break": "afs_syscall", "ftime": "afs_syscall", "gtty": "afs_syscall",
	"idle": "afs_syscall",
	"lock": "afs_syscall", "mpx": "afs_syscall", "prof": "afs_syscall",
	"profil": "afs_syscall",
	"stty":   "afs_syscall", "ulimit": "afs_syscall",
}

// native returns the number of the native call that a call of the 32-bit ABI means.
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

// compat returns the calls of the 32-bit ABI that mean one of the native calls shown.
func (n Numbers) compat(shown []uintptr) map[uintptr]compatSignature {
	m := make(map[uintptr]compatSignature)
	for name, number := range n.Compat {
		nr, ok := n.native(name)
		if ok && number != sysSocketcall && slices.Contains(shown, nr) {
			time64 := strings.HasSuffix(name, "_time64")
			m[number] = compatSignature{nr,
				compatSignatureOf(name, strings.TrimSuffix(name, "_time64")), time64}
		}
	}
	for k, s := range socketcalls {
		if slices.Contains(shown, s.nr) {
			name := s.name
			for native, nr := range n.Native {
				if name == "" && nr == s.nr {
					name = native
				}
			}
			m[socketcallKey(k)] = compatSignature{nr: s.nr,
				sig: compatSignatureOf(name, name)}
		}
	}
	return m
}

// compatSignatureOf returns how a call is shown that is called name, and like the native
// call base if that has its arguments.
func compatSignatureOf(name, base string) *signature {
	if params, ok := compatParams[name]; ok {
		return &signature{name: name, params: params}
	}
	byName := signaturesByName()
	for _, s := range [...]string{base, compatNames[base], strings.TrimSuffix(base, "64"),
		strings.TrimSuffix(base, "32")} {
		if sig := byName[s]; sig != nil {
			return &signature{name: name, params: sig.params, result: sig.result}
		}
	}
	return &signature{name: name, params: unknownParams}
}

// compatParams are the arguments of calls that are not those of a native one.
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

// wide is an argument of 64 bits that follows others in two registers.
func wide(name string, others int) param {
	return param{name: name, show: func(p *printer, _ int) {
		i := wideArg(others)
		p.dec(int64(p.Args[i+1]<<32 | p.Args[i]))
	}}
}

// The arguments of _llseek(2) are the descriptor, the upper and the lower half of the
// offset, where the result goes, and what the offset counts from.

func llseekOffset(p *printer, _ int) { p.dec(int64(p.Args[1]<<32 | p.Args[2])) }

func llseekWhence(p *printer, _ int) { p.b = seekWhences.value(p.b, p.Args[4]) }

// pointer2 is a pointer that comes one register later than the others.
func pointer2(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.address(p.ptr(i + 1)) }}
}

// CompatTraced returns the rows of the 32-bit ABI for the filter of a node whose calls
// with the given native numbers are traced from its start: those of CompatTable, with
// these calls in full.
func CompatTraced(shown []uintptr, n Numbers) []Entry {
	calls := n.compat(shown)
	var rows []Entry
	for _, e := range CompatTable() {
		if s, traced := calls[e.Nr]; !traced || fails(s.nr) {
			rows = append(rows, e)
		}
	}
	for _, nr := range slices.Sorted(maps.Keys(calls)) {
		if nr < socketcallKey(0) && !fails(calls[nr].nr) {
			rows = append(rows, Entry{Nr: nr, Note: "traced", Compat: true})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(socketcalls)) {
		if _, traced := calls[socketcallKey(k)]; traced && socketcalls[k].only {
			rows = append(rows, socketcallRow(k))
		}
	}
	return rows
}

// tracedCompat takes down a call of the 32-bit ABI.
func (n *Node) tracedCompat(c *compatCall, t *Tracing, s compatSignature) *tracedCall {
	tc := n.beginTraced(c, t, s.nr, s.sig)
	tc.compat, tc.time64 = true, s.time64
	return tc
}

// layout is where the fields of the caller's structures lie.
func (r *Record) layout() *abi.Layout {
	if r.compat {
		return &abi.Compat
	}
	return &abi.Native
}

// timespecSize is the size of the caller's struct timespec in bytes.
func (r *Record) timespecSize() int {
	if r.compat && !r.time64 {
		return 2 * 4
	}
	return 2 * 8
}
