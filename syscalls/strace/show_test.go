package strace

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

// A fakeMemory has pieces of a program's memory by their addresses. It implements Memory.
type fakeMemory map[uintptr][]byte

func (m fakeMemory) ReadMemory(addr uintptr, b []byte) error {
	for at, piece := range m {
		if addr >= at && addr+uintptr(len(b)) <= at+uintptr(len(piece)) {
			copy(b, piece[addr-at:])
			return nil
		}
	}
	return unix.EFAULT
}

// A call is a call of a test, and how strace(1) shows it.
type call struct {
	what    string
	name    string
	args    []uint64
	mem     fakeMemory
	after   fakeMemory // what the call stores
	outcome Outcome
	value   int64
	want    string
}

// observe returns the call as an observer has it at its end.
func (c call) observe(sig *Signature) *Syscall {
	var args [6]uint64
	copy(args[:], c.args)
	s := &Syscall{Outcome: c.outcome, Value: c.value}
	s.Begin(sig, args, 32)
	for addr, b := range c.after {
		s.NoteMemory(addr, b, true)
	}
	s.FetchArgs(c.mem)
	s.Describe(3, "TCP")
	return s
}

// text returns a decoded call as a line of strace.
func (d Decoded) text() string { return d.Name + "(" + strings.Join(d.Args, ", ") + ")" }

// words returns numbers of 64 bits as they lie in memory.
func words(v ...uint64) (b []byte) {
	for _, w := range v {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	return b
}

// ints returns numbers of 32 bits as they lie in memory.
func ints(v ...uint32) (b []byte) {
	for _, i := range v {
		b = binary.NativeEndian.AppendUint32(b, i)
	}
	return b
}

// family returns a sockaddr's family as it lies in memory, and what follows it.
func family(f uint16, rest ...byte) []byte {
	return append(binary.NativeEndian.AppendUint16(nil, f), rest...)
}

// inet is 10.111.0.2:80, and inet6 [2001:db8::1]:80 with a scope.
var (
	inet  = family(unix.AF_INET, append([]byte{0, 80, 10, 111, 0, 2}, make([]byte, 8)...)...)
	inet6 = family(unix.AF_INET6, append([]byte{0, 80, 0, 0, 0, 7, 0x20, 1, 0xd, 0xb8},
		append(make([]byte, 11), 1, 5, 0, 0, 0)...)...)
)

// A and B are addresses in the program's memory.
const (
	A = 0x1000
	B = 0x8000
)

// message returns a struct msghdr with one buffer of a size at B, its struct iovec, and
// control messages at B+0x200.
func message(name, size, control uint64) fakeMemory {
	return fakeMemory{A: words(name, 16, A+0x100, 1, B+0x200, control, 0),
		A + 0x100: words(B, size)}
}

// with returns the memory with another piece.
func (m fakeMemory) with(addr uintptr, b []byte) fakeMemory {
	m[addr] = b
	return m
}

// cmsg returns a control message.
func cmsg(level, typ int32, data []byte) []byte {
	b, _ := abi.PutControl(nil, level, typ, data, 512)
	return b
}

func TestShowSocketCalls(t *testing.T) {
	const linkLayer = "\x08\x00\x01\x00\x00\x00\x01\x00\x00\x06\x02\x62\x0a\x6f\x00\x02\x00\x00"
	for _, tc := range []call{
		{what: "IPv4", name: "connect", args: []uint64{3, A, 16},
			mem: fakeMemory{A: inet},
			want: `connect(3<TCP>, {sa_family=AF_INET, sin_port=htons(80), ` +
				`sin_addr=inet_addr("10.111.0.2")}, 16)`},
		{what: "IPv6", name: "bind", args: []uint64{3, A, 28}, mem: fakeMemory{A: inet6},
			want: `bind(3<TCP>, {sa_family=AF_INET6, sin6_port=htons(80), ` +
				`sin6_flowinfo=htonl(7), inet_pton(AF_INET6, "2001:db8::1", &sin6_addr), ` +
				`sin6_scope_id=5}, 28)`},
		{what: "Unix", name: "connect", args: []uint64{3, A, 12},
			mem:  fakeMemory{A: family(unix.AF_UNIX, []byte("/tmp/x\x00abc")...)},
			want: `connect(3<TCP>, {sa_family=AF_UNIX, sun_path="/tmp/x"}, 12)`},
		{what: "abstract", name: "connect", args: []uint64{3, A, 5},
			mem:  fakeMemory{A: family(unix.AF_UNIX, 0, 'a', 1)},
			want: `connect(3<TCP>, {sa_family=AF_UNIX, sun_path=@"a\1"}, 5)`},
		{what: "netlink", name: "bind", args: []uint64{3, A, 12},
			mem:  fakeMemory{A: family(unix.AF_NETLINK, append([]byte{0, 0}, ints(7, 1)...)...)},
			want: `bind(3<TCP>, {sa_family=AF_NETLINK, nl_pid=7, nl_groups=0x000001}, 12)`},
		{what: "packet", name: "bind", args: []uint64{3, A, 20},
			mem: fakeMemory{A: family(unix.AF_PACKET, []byte(linkLayer)...)},
			want: `bind(3<TCP>, {sa_family=AF_PACKET, sll_protocol=htons(ETH_P_IP), ` +
				`sll_ifindex=if_nametoindex("lo"), sll_hatype=ARPHRD_ETHER, ` +
				`sll_pkttype=PACKET_HOST, sll_halen=6, ` +
				`sll_addr=[0x02, 0x62, 0x0a, 0x6f, 0x00, 0x02]}, 20)`},
		{what: "unknown family", name: "connect", args: []uint64{3, A, 4},
			mem:  fakeMemory{A: family(99, 1, 'x')},
			want: `connect(3<TCP>, {sa_family=0x63 /* AF_??? */, sa_data="\1x"}, 4)`},
		{what: "unreadable", name: "connect", args: []uint64{3, 0x10, 16},
			want: `connect(3<TCP>, 0x10, 16)`},
		{what: "accept", name: "accept4", args: []uint64{3, A, B, unix.SOCK_CLOEXEC},
			mem: fakeMemory{B: ints(28)}, after: fakeMemory{A: inet, B: ints(16)},
			outcome: Returned, value: 3,
			want: `accept4(3<TCP>, {sa_family=AF_INET, sin_port=htons(80), ` +
				`sin_addr=inet_addr("10.111.0.2")}, [28 => 16], SOCK_CLOEXEC) <TCP>`},
		{what: "accept that waits", name: "accept4", args: []uint64{3, A, B, 0},
			mem: fakeMemory{B: ints(28)}, want: `accept4(3<TCP>)`},
		{what: "socket", name: "socket", args: []uint64{unix.AF_INET6,
			unix.SOCK_DGRAM | unix.SOCK_NONBLOCK, unix.IPPROTO_UDP},
			want: `socket(AF_INET6, SOCK_DGRAM|SOCK_NONBLOCK, IPPROTO_UDP)`},
		{what: "netlink socket", name: "socket",
			args: []uint64{unix.AF_NETLINK, unix.SOCK_RAW, 0},
			want: `socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE)`},
		{what: "pair", name: "socketpair", args: []uint64{1, 1, 0, A}, outcome: Returned,
			after: fakeMemory{A: ints(3, 4)},
			want:  `socketpair(AF_UNIX, SOCK_STREAM, 0, [3<TCP>, 4])`},
		{what: "send", name: "sendto", args: []uint64{3, A, 5, unix.MSG_NOSIGNAL, 0, 0},
			mem: fakeMemory{A: []byte("a\n\x00\"1")}, outcome: Returned, value: 5,
			want: `sendto(3<TCP>, "a\n\0\"1", 5, MSG_NOSIGNAL, NULL, 0)`},
		{what: "long payload", name: "sendto", args: []uint64{3, A, 40, 0, 0, 0},
			mem:  fakeMemory{A: bytes.Repeat([]byte("x"), 40)},
			want: `sendto(3<TCP>, "` + strings.Repeat("x", 32) + `"..., 40, 0, NULL, 0)`},
		{what: "receive", name: "recvfrom", args: []uint64{3, A, 100, 0, 0, 0},
			after: fakeMemory{A: []byte("hi")}, outcome: Returned, value: 2,
			want: `recvfrom(3<TCP>, "hi", 100, 0, NULL, NULL)`},
		{what: "int option", name: "setsockopt", args: []uint64{3, unix.SOL_SOCKET,
			unix.SO_REUSEADDR, A, 4}, mem: fakeMemory{A: ints(1)},
			want: `setsockopt(3<TCP>, SOL_SOCKET, SO_REUSEADDR, [1], 4)`},
		{what: "linger", name: "setsockopt", args: []uint64{3, unix.SOL_SOCKET,
			unix.SO_LINGER, A, 8}, mem: fakeMemory{A: ints(1, 5)},
			want: `setsockopt(3<TCP>, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}, 8)`},
		{what: "text option", name: "setsockopt", args: []uint64{3, unix.SOL_TCP,
			unix.TCP_CONGESTION, A, 5}, mem: fakeMemory{A: []byte("cubic")},
			want: `setsockopt(3<TCP>, SOL_TCP, TCP_CONGESTION, "cubic", 5)`},
		{what: "credentials", name: "getsockopt", args: []uint64{3, unix.SOL_SOCKET,
			unix.SO_PEERCRED, A, B}, mem: fakeMemory{B: ints(12)}, outcome: Returned,
			after: fakeMemory{A: ints(7, 1000, ^uint32(0)), B: ints(12)},
			want:  `getsockopt(3<TCP>, SOL_SOCKET, SO_PEERCRED, {pid=7, uid=1000, gid=-1}, [12])`},
		{what: "unknown level", name: "getsockopt", args: []uint64{3, 99, 1, A, B},
			mem: fakeMemory{B: ints(4)}, outcome: FailedBy,
			want: `getsockopt(3<TCP>, 0x63 /* SOL_??? */, 0x1, 0x1000, [4])`},
	} {
		t.Run(tc.what, func(t *testing.T) { tc.check(t, nativeOf(tc.name)) })
	}
}

// nativeOf returns the native signature of a name.
func nativeOf(name string) *Signature {
	const nr = 5
	t := NewTable([]uintptr{nr}, Numbers{Native: map[string]uintptr{name: nr}})
	return t.Native(nr)
}

func (c call) check(t *testing.T, sig *Signature) {
	t.Helper()
	d := c.observe(sig).Decode(32)
	got := d.text()
	if d.Result != "" {
		got += " " + d.Result
	}
	if got != c.want {
		t.Errorf("got  %s\nwant %s", got, c.want)
	}
}

func TestShowMessages(t *testing.T) {
	rights := cmsg(unix.SOL_SOCKET, unix.SCM_RIGHTS, ints(3, 7))
	info := cmsg(unix.SOL_IP, unix.IP_PKTINFO,
		append(ints(0), 10, 111, 0, 2, 10, 111, 0, 3))
	for _, tc := range []call{
		{what: "sent, with descriptors", name: "sendmsg", args: []uint64{3, A, 0},
			mem: message(0, 2, uint64(len(rights))).with(B, []byte("hi")).
				with(B+0x200, rights), outcome: Returned, value: 2,
			want: `sendmsg(3<TCP>, {msg_name=NULL, msg_namelen=16, ` +
				`msg_iov=[{iov_base="hi", iov_len=2}], msg_iovlen=1, ` +
				`msg_control=[{cmsg_len=24, cmsg_level=SOL_SOCKET, cmsg_type=SCM_RIGHTS, ` +
				`cmsg_data=[3<TCP>, 7]}], msg_controllen=24, msg_flags=0}, 0)`},
		{what: "received, with a name and IP_PKTINFO", name: "recvmsg",
			args: []uint64{3, A, 0}, mem: message(A+0x200, 100, 512), outcome: Returned,
			value: 2,
			after: fakeMemory{A: words(A+0x200, 16, A+0x100, 1, B+0x200, 28, unix.MSG_TRUNC),
				A + 0x200: inet, B: []byte("hi"), B + 0x200: info},
			want: `recvmsg(3<TCP>, {msg_name={sa_family=AF_INET, sin_port=htons(80), ` +
				`sin_addr=inet_addr("10.111.0.2")}, msg_namelen=16, ` +
				`msg_iov=[{iov_base="hi", iov_len=100}], msg_iovlen=1, ` +
				`msg_control=[{cmsg_len=28, cmsg_level=SOL_IP, cmsg_type=IP_PKTINFO, ` +
				`cmsg_data={ipi_ifindex=0, ipi_spec_dst=inet_addr("10.111.0.2"), ` +
				`ipi_addr=inet_addr("10.111.0.3")}}], msg_controllen=28, ` +
				`msg_flags=MSG_TRUNC}, 0)`},
		{what: "many", name: "sendmmsg", args: []uint64{3, A, 1, 0},
			mem: fakeMemory{A: append(words(0, 0, A+0x100, 1, 0, 0, 0), ints(0, 0)...),
				A + 0x100: words(B, 1), B: []byte("x")}, outcome: Returned, value: 1,
			after: fakeMemory{A + 56: ints(1)},
			want: `sendmmsg(3<TCP>, [{msg_hdr={msg_name=NULL, msg_namelen=0, ` +
				`msg_iov=[{iov_base="x", iov_len=1}], msg_iovlen=1, msg_controllen=0, ` +
				`msg_flags=0}, msg_len=1}], 1, 0)`},
	} {
		t.Run(tc.what, func(t *testing.T) { tc.check(t, nativeOf(tc.name)) })
	}
}

func TestShowOtherCalls(t *testing.T) {
	text := func(s string) []byte { return append([]byte(s), make([]byte, 256-len(s))...) }
	argv := fakeMemory{A: text("/bin/ls"), A + 0x100: words(A, B, 0),
		A + 0x200: words(B, B, 0), B: text("-l")}
	cwd := uint64(0xffffffffffffff9c) // AT_FDCWD
	for _, tc := range []call{
		{what: "file", name: "openat", args: []uint64{cwd, A, unix.O_RDWR | unix.O_CREAT, 0o644},
			mem: argv, want: `openat(AT_FDCWD, "/bin/ls", O_RDWR|O_CREAT, 0644)`},
		{what: "file that is there", name: "open",
			args: []uint64{A, unix.O_CLOEXEC, 0o644},
			mem:  argv, want: `open("/bin/ls", O_RDONLY|O_CLOEXEC)`},
		{what: "program", name: "execve", args: []uint64{A, A + 0x100, A + 0x200},
			mem:  argv,
			want: `execve("/bin/ls", ["/bin/ls", "-l"], 0x1200 /* 2 vars */)`},
		{what: "clone", name: "clone", args: []uint64{unix.CLONE_VM | uint64(unix.SIGCHLD), A},
			want: `clone(child_stack=0x1000, flags=CLONE_VM|SIGCHLD)`},
		{what: "F_SETFL", name: "fcntl", args: []uint64{3, unix.F_SETFL, unix.O_NONBLOCK},
			want: `fcntl(3<TCP>, F_SETFL, O_RDONLY|O_NONBLOCK)`},
		{what: "F_SETFD", name: "fcntl", args: []uint64{3, unix.F_SETFD, 1},
			want: `fcntl(3<TCP>, F_SETFD, FD_CLOEXEC)`},
		{what: "F_GETFD", name: "fcntl", args: []uint64{3, unix.F_GETFD, 9},
			want: `fcntl(3<TCP>, F_GETFD)`},
		{what: "F_DUPFD", name: "fcntl", args: []uint64{3, unix.F_DUPFD, 9},
			want: `fcntl(3<TCP>, F_DUPFD, 9)`},
		{what: "timespec", name: "nanosleep", args: []uint64{A, 0},
			mem: fakeMemory{A: words(1, 500)}, want: `nanosleep({tv_sec=1, tv_nsec=500}, NULL)`},
		{what: "offset", name: "lseek", args: []uint64{3, ^uint64(0), unix.SEEK_END},
			want: `lseek(3<TCP>, -1, SEEK_END)`},
		{what: "no signature", name: "frobnicate", args: []uint64{1, 0, 0x20},
			want: `frobnicate(0x1, 0, 0x20, 0, 0, 0)`},
	} {
		t.Run(tc.what, func(t *testing.T) { tc.check(t, nativeOf(tc.name)) })
	}
}

// TestShowCompatCalls shows calls of the 32-bit ABI, whose structures have another
// layout.
func TestShowCompatCalls(t *testing.T) {
	const nr, compatNr = 5, 300
	for _, tc := range []struct {
		native string
		call
	}{
		{"sendmsg", call{name: "sendmsg", args: []uint64{3, A, 0},
			mem: fakeMemory{A: ints(0, 0, A+0x100, 1, 0, 0, 0), A + 0x100: ints(B, 2),
				B: []byte("hi")},
			want: `sendmsg(3<TCP>, {msg_name=NULL, msg_namelen=0, ` +
				`msg_iov=[{iov_base="hi", iov_len=2}], msg_iovlen=1, msg_controllen=0, ` +
				`msg_flags=0}, 0)`}},
		{"lseek", call{name: "_llseek", args: []uint64{3, 1, 2, A, unix.SEEK_CUR},
			want: `_llseek(3<TCP>, 4294967298, 0x1000, SEEK_CUR)`}},
		{"mmap", call{name: "mmap2", args: []uint64{0, 4096, unix.PROT_READ,
			unix.MAP_PRIVATE, 3, 2},
			want: `mmap2(NULL, 4096, PROT_READ, MAP_PRIVATE, 3<TCP>, 0x2000)`}},
		{"nanosleep", call{name: "nanosleep", args: []uint64{A, 0},
			mem:  fakeMemory{A: ints(1, 500)},
			want: `nanosleep({tv_sec=1, tv_nsec=500}, NULL)`}},
		{"clock_nanosleep", call{name: "clock_nanosleep_time64",
			args: []uint64{1, 0, A, 0}, mem: fakeMemory{A: words(1, 500)},
			want: `clock_nanosleep_time64(1, 0, {tv_sec=1, tv_nsec=500}, NULL)`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			table := NewTable([]uintptr{nr}, Numbers{
				Native: map[string]uintptr{tc.native: nr},
				Compat: map[string]uintptr{tc.name: compatNr}})
			sig, ok := table.Compat(compatNr)
			if !ok || sig.Nr != nr {
				t.Fatalf("signature %+v, %v", sig, ok)
			}
			tc.check(t, sig)
			if d := tc.observe(sig).Decode(0); d.ABI != compatABI {
				t.Errorf("the ABI is %q", d.ABI)
			}
		})
	}
}

// TestCopyOfSyscall holds that a copy does not change with what it was made from.
func TestCopyOfSyscall(t *testing.T) {
	c := call{name: "sendto", args: []uint64{3, A, 2, 0, 0, 0},
		mem: fakeMemory{A: []byte("hi")}}
	s := c.observe(nativeOf("sendto"))
	var copied Syscall
	copied.CopyFrom(s)
	want := s.Decode(32).text()
	s.Reset()
	s.Begin(nativeOf("close"), [6]uint64{9}, 0)
	s.NoteMemory(A, []byte("no"), false)
	s.Describe(3, "UDP")
	if got := copied.Decode(32).text(); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if fd, ok := copied.MainFD(); fd != 3 || !ok || !copied.IsDescribed(3) ||
		copied.IsDescribed(4) {
		t.Errorf("it is about %d, %v", fd, ok)
	}
	if got := s.Decode(32).text(); got != "close(9)" {
		t.Errorf("the other is %s", got)
	}
}
