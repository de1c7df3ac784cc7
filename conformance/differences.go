package conformance

// known are the differences that do not fail the test, the ones that matter most first.
var known = []Difference{
	{
		Call:  "`close` of a socket right after its `connect` has begun",
		Linux: "the far side never accepts it",
		Boxer: "may accept it, reset already",
		Why:   "the far listener is asked before the program's socket is established. If its backlog is full, or the path is not there yet, a close is noticed within 200 ms and nothing is accepted",
	},
	{
		Call:  "`connect` and `sendto` to the IPv6 address of another node whose server listens over IPv4 only",
		Linux: "ECONNREFUSED",
		Boxer: "connected: the network translates between the families (RFC 7915)",
		Why:   "each name has addresses of both families, whatever its programs listen on; clients that ask for AAAA first would never reach servers on 0.0.0.0",
		Places: []Place{
			{"ipv6/other_family/client", "connect: ECONNREFUSED\nconnect: ECONNREFUSED\n",
				"connect: 0\nconnect: 0\n" +
					"getsockname: [SELF6]:EPHEMERAL\ngetpeername: [PEER6]:P0\nread: 5 \"hello\"\n" +
					"getsockname: [SELF6]:EPHEMERAL\ngetpeername: [PEER6]:P1\nread: 5 \"hello\"\n"},
			{"ipv6/other_family/server", "accept: EAGAIN\naccept: EAGAIN\n",
				"from PEER:EPHEMERAL\ngetsockname: SELF:P0\ngetpeername: PEER:EPHEMERAL\nsend: 5\n" +
					"from [::ffff:PEER]:EPHEMERAL\ngetsockname: [::ffff:SELF]:P1\ngetpeername: [::ffff:PEER]:EPHEMERAL\nsend: 5\n"},
		},
	},
	{
		Call:  "`send`, `write` and `writev` of more than a packet on a connected UDP socket with `IP_PMTUDISC_DO`",
		Linux: "EMSGSIZE",
		Boxer: "the datagram is sent, and cut on its way",
		Why:   "the kernel knows loopback's MTU alone, and a trap of these calls would cost every program that sends over TCP; `sendto`, `sendmsg` and `sendmmsg` are right",
		Places: []Place{
			{"udpinterface/unfragmented/client",
				"send: EMSGSIZE\nwrite: EMSGSIZE\nwritev: EMSGSIZE\n",
				"send: 9000\nwrite: 9000\nwritev: 9000\n"},
		},
	},
	{
		Call:  "`read` after a refused non-blocking `connect`",
		Linux: "ECONNREFUSED",
		Boxer: "ECONNRESET",
		Why:   "`SO_ERROR` and `connect` have the true error; read is not trapped, and to the kernel the socket was half open",
		Hosts: 2,
		Places: []Place{
			{"connect/after_refused/client", "read: ECONNREFUSED\n",
				"read: ECONNRESET\n"},
		},
	},
	{
		Call:  "`connect` without waiting, to a closed port of the own host, of a socket with `O_ASYNC`",
		Linux: "EINPROGRESS, then the signal",
		Boxer: "the signal, then ECONNREFUSED",
		Why:   "the kernel's signal comes before the supervisor's answer, mostly, and the call starts again",
	},
	{
		Call:  "`open` of /proc/sys/kernel/hostname, where boxer has no CAP_SYS_ADMIN",
		Linux: "the host's name",
		Boxer: "the machine's, not the node's",
		Why:   "a UTS namespace takes that capability. To trap each `openat` would cost it 17 us (median of nine times 20,000 in a C program, under `boxer trace -e openat` and bare: 20.6 and 3.5 us), and a path is not what a filter can see; `uname` and `sethostname` are right everywhere",
	},
	{
		Call:  "`open` with `O_CLOEXEC` or other flags of /proc/self/net/dev, /proc/PID/net/dev, /proc/net/tcp and the like; also of /proc/net/dev, where boxer has no CAP_SYS_ADMIN",
		Linux: "the host's interfaces and sockets",
		Boxer: "the machine's interfaces, and the kernel's addresses",
		Why:   "a filter cannot see paths, and to trap each open for reading makes open and close five times as slow (11.2 us instead of 2.2 us, docs/design.md). So the filter traps only opens without other flags, as fopen(3) makes them. Boxer covers the link /proc/net by a mount, where it can. It cannot cover the folders of processes to come, nor files that change",

		Interposer: "seccomp",
	},
	{
		Call:  "`open` of /sys/class/net, where boxer has no CAP_SYS_ADMIN",
		Linux: "the host's interfaces",
		Boxer: "the machine's, not the node's",
		Why:   "a mount namespace takes that capability, and no call stands for a folder that is not there",
	},
	{
		Call:  "`seccomp` with `SECCOMP_FILTER_FLAG_NEW_LISTENER`",
		Linux: "a listener",
		Boxer: "EBUSY",
		Why:   "there is one per process tree, and it is boxer's; so `boxer run` within `boxer run` fails, too",

		Interposer: "seccomp",
		Places: []Place{
			{"children/own_listener/server", "listener: fd\n", "listener: EBUSY\n"},
		},
	},
	{
		Call:  "`prctl` with `PR_SET_SECCOMP` and `SECCOMP_MODE_STRICT`",
		Linux: "0: nothing but read, write, exit and sigreturn is left",
		Boxer: "EINVAL",
		Why:   "the kernel does not change the mode of a process that has a filter (seccomp_may_assign_mode in kernel/seccomp.c), and boxer's is one",

		Interposer: "seccomp",
		Places: []Place{
			{"children/strict/server", "PR_SET_SECCOMP: 0\n", "PR_SET_SECCOMP: EINVAL\n"},
		},
	},
	{
		Call:  "`accept` of a program with one descriptor left below its hard RLIMIT_NOFILE, without CAP_SYS_RESOURCE",
		Linux: "the descriptor",
		Boxer: "EMFILE",
		Why:   "what hands the descriptor over needs a number for a moment, too",
		Places: []Place{
			{"children/limits/client", "socket: EMFILE\naccept: fd\n",
				"socket: EMFILE\naccept: EMFILE\n"},
		},

		Interposer: "rewrite",
	},
	{
		Call:  "calls of a program that is traced (ptrace(2)), or has put a filter on itself",
		Linux: "the tracer and the filter see them",
		Boxer: "they see the calls of the hook instead: futex, and what fetches descriptors",
		Why:   "calls that boxer answers are not made",
		Places: []Place{
			{"children/traced/client", "the tracer sees connect return 0\nconnect: 0\n",
				"connect: 0\n"},
			{"children/traced/client", "1 connects, status 0\n",
				"0 connects, status 0\n"},
			{"children/no_sockets/server", "connect: EPERM\n", "connect: 0\n"},
			{"children/no_sockets/server", "child ends by SYS\n",
				"bind: EINVAL\nnot killed\n"},
		},

		Interposer: "rewrite",
	},
	{
		Call:  "`execve` of 32-bit programs, and of programs that may be executed and not read",
		Linux: "the program",
		Boxer: "ENOEXEC, EACCES",
		Why:   "boxer maps and rewrites programs itself. It says so on standard error",

		Interposer: "rewrite",
	},
}
