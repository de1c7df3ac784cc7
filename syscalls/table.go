package syscalls

import (
	"slices"

	"golang.org/x/sys/unix"
)

// An Entry is one row of the table: which calls are trapped, what answers them,
// and how far that goes.
type Entry struct {
	Name string      // as in section 2 of the manual
	Nr   uintptr     // the number on this architecture
	When []Condition // all must hold, or the kernel does the call untrapped; none: always
	Fail unix.Errno  // if not 0, the call fails with it, untrapped
	Note string      // what boxer does with it
	Gap  string      // what Linux does and boxer does not; empty if nothing is missing
	do   func(*Node, Call) reply
}

// A Condition is about one argument, as the filter can see it.
type Condition struct {
	Arg     uint   // 0 to 5
	NotNull bool   // the pointer is not NULL; otherwise
	Equal   uint32 // the int has this value
}

func notNull(arg uint) []Condition { return []Condition{{Arg: arg, NotNull: true}} }

// table is the whole surface that boxer takes over. The filter is built from
// it, so a call is trapped if and only if it has a row here.
var table = []Entry{
	{Name: "accept", Nr: unix.SYS_ACCEPT, When: notNull(1), do: (*Node).accept,
		Note: "the kernel's accept; the peer's virtual address"},
	{Name: "accept4", Nr: unix.SYS_ACCEPT4, When: notNull(1), do: (*Node).accept4,
		Note: "as accept"},
	{Name: "bind", Nr: unix.SYS_BIND, do: (*Node).bind,
		Note: "TCP: the node's alias of the address, any port",
		Gap:  "UDP and other types are the host's; only the node's IPv4 address, 127.0.0.1, ::1 and the wildcards are its own"},
	{Name: "connect", Nr: unix.SYS_CONNECT, do: (*Node).connect,
		Note: "TCP to the network, the node and localhost; port 53 to the node's resolver",
		Gap:  "UDP to the network fails with ENETUNREACH; a socket closed while it connects is accepted and closed at the far side"},
	{Name: "getpeername", Nr: unix.SYS_GETPEERNAME, do: (*Node).getpeername,
		Note: "virtual addresses"},
	{Name: "getsockname", Nr: unix.SYS_GETSOCKNAME, do: (*Node).getsockname,
		Note: "virtual addresses"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).socketError,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET}, {Arg: 2, Equal: unix.SO_ERROR}},
		Note: "SO_ERROR of a connect to the network",
		Gap:  "read(2) or write(2) after a failed connect gives ECONNRESET instead of the error"},
	{Name: "io_uring_setup", Nr: unix.SYS_IO_URING_SETUP, Fail: unix.ENOSYS,
		Note: "not there, so that programs use the other calls",
		Gap:  "io_uring"},
	{Name: "listen", Nr: unix.SYS_LISTEN, do: (*Node).listen,
		Note: "the kernel listens; the network learns the port"},
	{Name: "recvfrom", Nr: unix.SYS_RECVFROM, When: notNull(4), do: (*Node).recvfrom,
		Note: "UDP answers of the node's resolver come from the name server that was asked",
		Gap:  "recvmsg(2) shows the resolver's own address"},
	{Name: "sendto", Nr: unix.SYS_SENDTO, When: notNull(4), do: (*Node).sendto,
		Note: "UDP to port 53 goes to the node's resolver; MSG_FASTOPEN is not supported",
		Gap:  "sendmsg(2) with an address goes to the host's network"},
	{Name: "socket", Nr: unix.SYS_SOCKET, Fail: unix.EPROTONOSUPPORT,
		When: []Condition{{Arg: 2, Equal: unix.IPPROTO_MPTCP}},
		Note: "Multipath TCP is not there, as on kernels built without it; everything else is the kernel's"},
	{Name: "uname", Nr: unix.SYS_UNAME, do: (*Node).uname,
		Note: "the node's name as hostname",
		Gap:  "/proc/sys/kernel/hostname has the host's"},
}

// Table returns the rows, in the order of their names.
func Table() []Entry { return slices.Clone(table) }

// handlers finds a row's handler by number. Numbers are small: an array is
// faster than a map, and this is on the way of each call.
var handlers = func() (h [512]func(*Node, Call) reply) {
	for _, e := range table {
		if e.do != nil {
			h[e.Nr] = e.do
		}
	}
	return h
}()
