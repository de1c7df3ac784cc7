package syscalls

import (
	"slices"
	"strings"

	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"golang.org/x/sys/unix"
)

// An Entry is one row of the table: which calls are trapped, what answers them,
// and how far that goes.
type Entry struct {
	Name string      // as in section 2 of the manual
	Nr   uintptr     // the number on this architecture
	When []Condition // all must hold, or the kernel does the call untrapped; none: always
	// Inside has the conditions that take the place of When where calls are taken inside
	// the program, which can look at memory; none: When.
	Inside []Condition
	Fail   unix.Errno // if not 0, the call fails with it, untrapped
	Note   string     // what boxer does with it
	Gap    string     // what Linux does and boxer does not; empty if nothing is missing
	// Log, if not nil, says that the kernel does the call and that a CallLog has it, with
	// the memory that these captures are about.
	Log *[]strace.Capture
	do  func(*Node, Call) reply

	Hostname bool // only where the program's tree shares the machine's UTS namespace
	Direct   bool // only where the kernel's TCP may carry connections between hosts
	Compat   bool // Nr is a number of the host's 32-bit ABI
}

// A Condition is about one argument, as the filter can see it.
type Condition struct {
	Arg     uint   // 0 to 5
	NotNull bool   // the pointer is not NULL; otherwise
	AtLeast uint64 // if not 0, the register is not less; otherwise
	Mask    uint32 // the bits of the int that count; 0 means all
	Equal   uint32 // the int has this value
	// ProcNet holds if the argument is a path that may name a file of a folder "net" of
	// /proc. Only Inside has it.
	ProcNet bool
}

// Holds reports whether the condition is true of the argument's value.
func (c Condition) Holds(v uint64) bool {
	switch {
	case c.NotNull:
		return v != 0
	case c.AtLeast > 0:
		return v >= c.AtLeast
	case c.Mask != 0:
		return uint32(v)&c.Mask == c.Equal
	}
	return uint32(v) == c.Equal
}

// landlockRuleNetPort is LANDLOCK_RULE_NET_PORT of include/uapi/linux/landlock.h.
const landlockRuleNetPort = 2

// sockTypeMask is SOCK_TYPE_MASK of include/linux/net.h.
const sockTypeMask = 0xf

// pingSocket holds for the ping sockets of a domain: icmp(7).
func pingSocket(domain, proto uint32) []Condition {
	return []Condition{{Arg: 0, Equal: domain},
		{Arg: 1, Mask: sockTypeMask, Equal: unix.SOCK_DGRAM}, {Arg: 2, Equal: proto}}
}

// ofOption holds for a call of getsockopt(2) or setsockopt(2).
func ofOption(level, name uint32) []Condition {
	return []Condition{{Arg: 1, Equal: level}, {Arg: 2, Equal: name}}
}

func notNull(arg uint) []Condition { return []Condition{{Arg: arg, NotNull: true}} }

// table is the whole surface that boxer takes over. The filter is built from
// it, so a call is trapped if and only if it has a row here.
var table = withArch([]Entry{
	{Name: "accept", Nr: unix.SYS_ACCEPT, When: notNull(1), do: (*Node).accept,
		Note: "the kernel accepts; the peer's virtual address"},
	{Name: "accept4", Nr: unix.SYS_ACCEPT4, When: notNull(1), do: (*Node).accept4,
		Note: "as accept"},
	{Name: "accept", Nr: unix.SYS_ACCEPT, Direct: true, do: (*Node).accept,
		Note: "with --data-path direct: the connection that the kernels have between the hosts"},
	{Name: "accept4", Nr: unix.SYS_ACCEPT4, Direct: true, do: (*Node).accept4,
		Note: "with --data-path direct: as accept"},
	{Name: "bind", Nr: unix.SYS_BIND, do: (*Node).bind,
		Note: "TCP and UDP: the node's alias of the address, any port",
		Gap:  "only the node's two addresses, 127.0.0.1, ::1 and the wildcards are its own; a UDP socket that is bound to a port has another port outside"},
	{Name: "connect", Nr: unix.SYS_CONNECT, do: (*Node).connect,
		Note: "TCP and UDP to the network, the node and localhost; port 53 of the servers in resolv.conf to the node's resolver",
		Gap:  "a socket closed as soon as it connects may be accepted at the far side, reset already; a connect to a listener that has just been closed, or was shut down, may succeed, and the connection is reset"},
	{Name: "getpeername", Nr: unix.SYS_GETPEERNAME, do: (*Node).getpeername,
		Note: "virtual addresses"},
	{Name: "getsockname", Nr: unix.SYS_GETSOCKNAME, do: (*Node).getsockname,
		Note: "virtual addresses; a socket that is connected to the outside also has the node's"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_MTU),
		Note: "of sockets that are connected to another node: the MTU of the node's interface"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_MTU),
		Note: "of sockets that are connected to another node: the MTU of the node's interface"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: []Condition{{Arg: 1, Equal: unix.IPPROTO_IPV6},
			{Arg: 2, Equal: unix.IPV6_V6ONLY}},
		Note: "IPV6_V6ONLY as the program has set it",
		Gap:  "set also after a connect to an IPv6 address of the network"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF),
		Note: "IPV6_MULTICAST_IF as the program has set it"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_UNICAST_IF),
		Note: "IP_UNICAST_IF as the program has set it"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF),
		Note: "IPV6_UNICAST_IF as the program has set it"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET},
			{Arg: 2, Equal: unix.SO_ERROR}},
		Note: "SO_ERROR of a connect to the network",
		Gap:  "read(2) after a failed non-blocking connect gives ECONNRESET instead of the error"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET},
			{Arg: 2, Equal: unix.SO_BINDTODEVICE}},
		Note: "SO_BINDTODEVICE: the node's interface"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET},
			{Arg: 2, Equal: unix.SO_RCVBUF}},
		Note: "SO_RCVBUF as the program has set it"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET},
			{Arg: 2, Equal: unix.SO_SNDBUF}},
		Note: "SO_SNDBUF as the program has set it"},
	{Name: "getsockopt", Nr: unix.SYS_GETSOCKOPT, do: (*Node).getsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET},
			{Arg: 2, Equal: unix.SO_PROTOCOL}},
		Note: "SO_PROTOCOL of ping sockets, which are UDP sockets in the kernel"},
	{Name: "io_uring_setup", Nr: unix.SYS_IO_URING_SETUP, Fail: unix.ENOSYS,
		Note: "ENOSYS, so that programs use other calls",
		Gap:  "io_uring"},
	{Name: "ioctl", Nr: unix.SYS_IOCTL, When: interfaceRequests[0], do: (*Node).ioctl,
		Note: "requests about interfaces, such as SIOCGIFCONF: lo and " + netif.InterfaceName,
		Gap:  "interfaces cannot be changed"},
	{Name: "ioctl", Nr: unix.SYS_IOCTL, When: interfaceRequests[1], do: (*Node).ioctl,
		Note: "requests about interfaces, as SIOCGIFCONF"},
	{Name: "ioctl", Nr: unix.SYS_IOCTL, When: interfaceRequests[2], do: (*Node).ioctl,
		Note: "requests about interfaces, as SIOCGIFCONF"},
	{Name: "landlock_add_rule", Nr: unix.SYS_LANDLOCK_ADD_RULE,
		When: []Condition{{Arg: 1, Equal: landlockRuleNetPort}}, do: byLandlock((*restrictions).addRule),
		Note: "LANDLOCK_RULE_NET_PORT: the kernel adds it; boxer learns the port"},
	{Name: "landlock_create_ruleset", Nr: unix.SYS_LANDLOCK_CREATE_RULESET,
		When: notNull(0), do: byLandlock((*restrictions).createRuleset),
		Note: "the kernel makes it; boxer learns whether it is about TCP"},
	{Name: "landlock_restrict_self", Nr: unix.SYS_LANDLOCK_RESTRICT_SELF,
		do:   byLandlock((*restrictions).restrictSelf),
		Note: "the kernel restricts the thread; boxer enforces what it denies of TCP, also for its children",
		Gap:  "a process that is denied TCP ports has a limit of file locks (RLIMIT_LOCKS, without effect since Linux 2.4.25); where one thread of several has restricted itself, threads and children that the process makes afterwards are denied what any of its threads is"},
	{Name: "listen", Nr: unix.SYS_LISTEN, do: (*Node).listen,
		Note: "the kernel listens; the network learns the port"},
	{Name: "openat", Nr: unix.SYS_OPENAT, When: plainOpen(2), Inside: procNetOpen(1, 2),
		do: (*Node).openat,
		Note: "/proc/net, /proc/self/net and /proc/PID/net have lo and " +
			netif.InterfaceName + ", and sockets under the addresses that programs know; " +
			"with a filter, as fopen(3) opens files",
		Gap: "with a filter, files that are opened with O_CLOEXEC have the host's interfaces " +
			"and the kernel's addresses; with CAP_SYS_ADMIN, /proc/net has the node's interfaces"},
	{Name: "prlimit64", Nr: unix.SYS_PRLIMIT64,
		When: []Condition{{Arg: 1, Equal: landlock.MarkLimit}, {Arg: 2, NotNull: true}},
		do:   byLandlock((*restrictions).prlimit),
		Note: "RLIMIT_LOCKS stays as it is, and the call succeeds: landlock_restrict_self marks processes there",
		Gap:  "RLIMIT_LOCKS, which is without effect since Linux 2.4.25, cannot be changed"},
	{Name: "recvfrom", Nr: unix.SYS_RECVFROM, When: notNull(4), do: (*Node).recvfrom,
		Note: "UDP: the sender's virtual address",
		Gap:  "without an address, and read(2): with IP_RECVERR, ECONNREFUSED instead of EHOSTUNREACH for an address that no node has"},
	{Name: "recvmmsg", Nr: unix.SYS_RECVMMSG, do: (*Node).recvmmsg,
		Note: "as recvmsg",
		Gap:  "datagrams that were received before a signal ends the call are lost"},
	{Name: "recvmsg", Nr: unix.SYS_RECVMSG, do: (*Node).recvmsg,
		Note: "UDP: the sender's virtual address; IP_PKTINFO and the error queue, too. The kernel performs calls on other sockets, after boxer has checked the socket"},
	{Name: "sendmmsg", Nr: unix.SYS_SENDMMSG, do: (*Node).sendmmsg,
		Note: "as sendmsg"},
	{Name: "sendmsg", Nr: unix.SYS_SENDMSG, do: (*Node).sendmsg,
		Note: "UDP to the network and the node's resolver; MSG_FASTOPEN and MSG_OOB as sendto. The kernel performs calls on other sockets, after boxer has checked the message"},
	{Name: "sendto", Nr: unix.SYS_SENDTO, When: muslRequest, do: (*Node).sendto,
		Note: "NETLINK_ROUTE without an address, 20 bytes as musl sends, which does not wait for the answer",
		Gap:  "other requests by send(2) or write(2) are answered soon after the call, not within it"},
	{Name: "sendto", Nr: unix.SYS_SENDTO,
		When: []Condition{{Arg: 3, Mask: unix.MSG_OOB, Equal: unix.MSG_OOB}},
		do:   (*Node).sendto,
		Note: "MSG_OOB on TCP: the relay expects urgent data, then the kernel sends",
		Gap:  "the far side learns of urgent data when the stream has come there, also if its program does not read; an i386 or ARM program's send(2) is not trapped: its urgent byte is lost"},
	{Name: "sendto", Nr: unix.SYS_SENDTO, When: notNull(4), do: (*Node).sendto,
		Note: "UDP to the network and the node's resolver; MSG_FASTOPEN connects, then the kernel sends"},
	{Name: "sethostname", Nr: unix.SYS_SETHOSTNAME, Hostname: true,
		do:   byHostname((*hostname).sethostname),
		Note: "the result of uname in this node; its name on the network stays. With CAP_SYS_ADMIN, the kernel performs the call"},
	{Name: "setrlimit", Nr: unix.SYS_SETRLIMIT,
		When: []Condition{{Arg: 0, Equal: landlock.MarkLimit}}, do: byLandlock((*restrictions).setrlimit),
		Note: "as prlimit64"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_NETLINK},
			{Arg: 2, Equal: unix.NETLINK_ADD_MEMBERSHIP}},
		Note: "NETLINK_ADD_MEMBERSHIP: the node's interfaces never change"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET},
			{Arg: 2, Equal: unix.SO_BINDTODEVICE}},
		Note: "SO_BINDTODEVICE: the node's interface",
		Gap:  "a socket bound to a device of the host reaches no node; SO_BINDTOIFINDEX knows the host's interfaces only"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET},
			{Arg: 2, Equal: unix.SO_RCVBUF}},
		Note: "SO_RCVBUF of TCP: 64 KiB at least, because loopback is slow with less"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: []Condition{{Arg: 1, Equal: unix.SOL_SOCKET},
			{Arg: 2, Equal: unix.SO_SNDBUF}},
		Note: "SO_SNDBUF of TCP: 64 KiB at least, because loopback is slow with less"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER),
		Note: "IP_MTU_DISCOVER: the kernel sets it; EMSGSIZE for what is larger than the node's interface takes",
		Gap:  "send(2), write(2) and writev(2) of a connected UDP socket: as large as loopback takes"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER),
		Note: "IPV6_MTU_DISCOVER: as IP_MTU_DISCOVER"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_MULTICAST_IF),
		Note: "IP_MULTICAST_IF: the node's interface and lo"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_IF),
		Note: "IPV6_MULTICAST_IF: the node's interface and lo"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_UNICAST_IF),
		Note: "IP_UNICAST_IF: the node's interface and lo"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_IF),
		Note: "IPV6_UNICAST_IF: the node's interface and lo"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP),
		Note: "multicast groups: ENODEV, as on a host without a route to them"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_ADD_SOURCE_MEMBERSHIP),
		Note: "multicast groups: ENODEV, as on a host without a route to them"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.MCAST_JOIN_GROUP),
		Note: "multicast groups: ENODEV, as on a host without a route to them"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.MCAST_JOIN_SOURCE_GROUP),
		Note: "multicast groups: ENODEV, as on a host without a route to them"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_RECVERR),
		Note: "IPV6_RECVERR: errors of UDP to the network and to localhost, which are those of IPv4 in the kernel"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP),
		Note: "multicast groups: ENODEV, as on a host without a route to them"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.MCAST_JOIN_GROUP),
		Note: "multicast groups: ENODEV, as on a host without a route to them"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.MCAST_JOIN_SOURCE_GROUP),
		Note: "multicast groups: ENODEV, as on a host without a route to them"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_MINTTL),
		Note: "IP_MINTTL: also of packets from other nodes, whose TTL is their programs'"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_TOS),
		Note: "IP_TOS: other nodes see it"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IP, unix.IP_TTL),
		Note: "IP_TTL: other nodes see it, as from a neighbour on one link"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, ipv6MinHopCount),
		Note: "IPV6_MINHOPCOUNT: as IP_MINTTL"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_TCLASS),
		Note: "IPV6_TCLASS: other nodes see it"},
	{Name: "setsockopt", Nr: unix.SYS_SETSOCKOPT, do: (*Node).setsockopt,
		When: ofOption(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS),
		Note: "IPV6_UNICAST_HOPS: as IP_TTL",
		Gap:  "a hop limit of 0 arrives as 1; on AF_INET6 sockets it is also IP_TTL, and so on for the others"},
	{Name: "socket", Nr: unix.SYS_SOCKET, do: (*Node).socket,
		When: []Condition{{Arg: 0, Equal: unix.AF_NETLINK},
			{Arg: 2, Equal: unix.NETLINK_ROUTE}},
		Note: "NETLINK_ROUTE: lo and " + netif.InterfaceName +
			", their addresses and routes",
		Gap: "interfaces, addresses and routes cannot be changed"},
	{Name: "socket", Nr: unix.SYS_SOCKET, do: (*Node).socket,
		When: []Condition{{Arg: 0, Equal: unix.AF_NETLINK},
			{Arg: 2, Equal: unix.NETLINK_SOCK_DIAG}},
		Note: "NETLINK_SOCK_DIAG: the kernel's sockets, with the addresses that " +
			"programs know",
		Gap: "SOCK_DESTROY fails with EOPNOTSUPP, as where the kernel lacks it"},
	{Name: "socket", Nr: unix.SYS_SOCKET, Fail: unix.EPROTONOSUPPORT,
		When: []Condition{{Arg: 2, Equal: unix.IPPROTO_MPTCP}},
		Note: "EPROTONOSUPPORT for Multipath TCP, as on kernels built without it"},
	{Name: "socket", Nr: unix.SYS_SOCKET,
		When: pingSocket(unix.AF_INET, unix.IPPROTO_ICMP), do: (*Node).socket,
		Note: "ping sockets: echoes to nodes",
		Gap:  "raw sockets (SOCK_RAW) are the host's"},
	{Name: "socket", Nr: unix.SYS_SOCKET,
		When: pingSocket(unix.AF_INET6, unix.IPPROTO_ICMPV6), do: (*Node).socket,
		Note: "ping sockets over ICMPv6, as for IPv4"},
	{Name: "uname", Nr: unix.SYS_UNAME, Hostname: true, do: byHostname((*hostname).uname),
		Note: "the node's name as hostname; the kernel's, in a UTS namespace, where boxer has CAP_SYS_ADMIN",
		Gap:  "/proc/sys/kernel/hostname has the machine's where boxer has no CAP_SYS_ADMIN"},
})

// byLandlock makes a handler of a method of the node's restrictions.
func byLandlock(f func(*restrictions, Call) reply) func(*Node, Call) reply {
	return func(n *Node, c Call) reply { return f(&n.landlock, c) }
}

// byHostname makes a handler of a method of the node's hostname.
func byHostname(f func(*hostname, Call) reply) func(*Node, Call) reply {
	return func(n *Node, c Call) reply { return f(&n.hostname, c) }
}

// withArch adds the rows that only this architecture has.
func withArch(rows []Entry) []Entry {
	rows = append(rows, archTable...)
	slices.SortStableFunc(rows, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return rows
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
