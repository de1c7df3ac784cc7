package syscalls

import (
	"bytes"
	"context"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/rtnetlink"
	"github.com/boxer-sandbox/boxer/syscalls/sockdiag"
	"golang.org/x/sys/unix"
)

// netlinks answer the programs' NETLINK_ROUTE and NETLINK_SOCK_DIAG sockets.
//
// Such a socket is implemented as a NETLINK_USERSOCK socket that is connected to a socket
// of the supervisor, one for each of the two protocols. So the kernel queues the
// supervisor's answers, and read, poll, MSG_PEEK, buffer sizes and the options of
// SOL_NETLINK are the kernel's. The filter traps requests, and the supervisor answers
// before the call returns, as Linux does. It does not trap write(2), and of send(2) only
// musl's: other requests come to the supervisor's socket.
type netlinks struct {
	*core
	view func() sockdiag.View // of the node's sockets

	route, diag netlinkServer

	// others is a hash table of descriptors that are known to be other sockets, since the
	// last socket was counted by made. See maybe.
	others [256]atomic.Uint64
	// made counts the netlink sockets that were made, and the UDP sockets whose datagrams
	// must not be cut: see lookAgain.
	made atomic.Uint32

	mu sync.Mutex
	// claims are the ports that programs bound their sockets to, by the ports that the
	// kernel gave these sockets when they were made.
	claims map[uint32]uint32
}

// muslRequest is the condition of the send(2) that musl makes for getifaddrs(3) and
// others (src/network/netlink.c): struct nlmsghdr and struct rtgenmsg, 20 bytes with
// padding, and no flags. musl then reads the answer with MSG_DONTWAIT, so it must be
// there. A filter cannot see that a descriptor is a netlink socket, and a trap of every
// send(2) would cost TCP too much. Other programs that use send(2) or write(2) without an
// address wait for the answer.
var muslRequest = []Condition{{Arg: 2, Equal: 20}, {Arg: 3, Equal: 0}}

// maxClaims bounds the table of claims, whose entries outlive their sockets.
const maxClaims = 256

// maxNetlink bounds a request in bytes. Requests of known programs have fewer than 100.
const maxNetlink = 16 << 10

// used reports whether any program has made a netlink socket.
func (k *netlinks) used() bool { return k.route.used() || k.diag.used() }

// isServer reports whether a port is that of a socket of the supervisor's.
func (k *netlinks) isServer(port uint32) bool {
	return port != 0 && (port == k.route.port.Load() || port == k.diag.port.Load())
}

// maybe reports whether a thread's descriptor may be a netlink socket, or one that
// lookAgain is for, by what earlier calls have shown. So a sendmsg(2) of a TCP or Unix
// socket costs no copy of the descriptor each time. maybe is wrong where a program moves
// a netlink socket to a number that another socket had (dup2(2), SCM_RIGHTS). Then the
// request comes to the supervisor's socket, and the answer a moment after the call.
func (k *netlinks) maybe(tid, fd int) bool {
	made := k.made.Load()
	return made != 0 && k.others[otherPlace(tid, fd)].Load() != otherKey(tid, fd, made)
}

// isOther stores that a thread's descriptor is another socket.
func (k *netlinks) isOther(tid, fd int) {
	k.others[otherPlace(tid, fd)].Store(otherKey(tid, fd, k.made.Load()))
}

// lookAgain makes the next call of each descriptor show what it is.
func (k *netlinks) lookAgain() { k.made.Add(1) }

func otherPlace(tid, fd int) uint8 { return uint8(tid*31 + fd) }

// otherKey returns an entry of others: the lower 24 bits of the thread, which are all
// that it has (PID_MAX_LIMIT of include/linux/threads.h needs 22), and 20 bits of fd and
// made.
func otherKey(tid, fd int, made uint32) uint64 {
	const low = 1<<20 - 1
	return uint64(tid)<<40 | uint64(fd&low)<<20 | uint64(made&low)
}

func (k *netlinks) close() {
	k.route.close()
	k.diag.close()
}

// serve answers the requests that come to one of the supervisor's sockets, until it is
// closed.
func (k *netlinks) serve(server *netlinkServer) {
	var b [maxNetlink]byte
	for {
		size, port, err := server.receive(b[:])
		if err != nil {
			return
		}
		k.answer(server, b[:size], port)
	}
}

// answer answers a request of the socket that has a port.
func (k *netlinks) answer(server *netlinkServer, b []byte, port uint32) {
	claimed := k.claimed(port)
	if server == &k.diag {
		k.answerDiag(sockdiag.Answer(b, claimed, linux.AskDiag, k.view()), port)
		return
	}
	answer := rtnetlink.Answer(k.host(), b, claimed)
	if len(answer) == 0 {
		return
	}
	// An answer that does not fit into the socket's buffer is lost, as on Linux (ENOBUFS,
	// netlink(7)).
	if err := server.send(answer, port); err != nil {
		k.Logger.Debug("netlink", "port", port, "err", err)
	}
}

// answerDiag sends the datagrams of an answer. The kernel goes on with a long one when
// the program has read what is there.
func (k *netlinks) answerDiag(datagrams [][]byte, port uint32) {
	for i, d := range datagrams {
		err := k.diag.send(d, port)
		if errors.Is(err, unix.EAGAIN) {
			k.tasks.Go(func() {
				if err := k.diag.sendSlowly(k.ctx, datagrams[i:], port); err != nil {
					k.Logger.Debug("netlink", "port", port, "err", err)
				}
			})
			return
		}
		if err != nil {
			k.Logger.Debug("netlink", "port", port, "err", err)
			return
		}
	}
}

func (k *netlinks) claimed(port uint32) uint32 {
	k.mu.Lock()
	defer k.mu.Unlock()
	if claim, ok := k.claims[port]; ok {
		return claim
	}
	return port
}

func (k *netlinks) claim(port, want uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if want == port {
		delete(k.claims, port)
		return
	}
	if k.claims == nil {
		k.claims = make(map[uint32]uint32)
	}
	for old := range k.claims {
		if len(k.claims) < maxClaims {
			break
		}
		delete(k.claims, old) // any one; most are of closed sockets
	}
	k.claims[port] = want
}

// socket answers socket(2) for NETLINK_ROUTE and NETLINK_SOCK_DIAG. A program in a
// network namespace of its own gets a socket of the kernel's.
func (k *netlinks) socket(c Call) reply {
	typ := c.Int(1)
	if !networkNamespace.has(c.TID()) {
		return passthrough
	}
	server := &k.route
	if c.Int(2) == unix.NETLINK_SOCK_DIAG {
		server = &k.diag
	}
	kernel, opened, err := server.open()
	if err != nil {
		k.Logger.Debug("netlink", "err", err)
		return passthrough
	}
	if opened {
		k.tasks.Go(func() { k.serve(server) })
	}
	fd, err := linux.Socket(unix.AF_NETLINK, typ|unix.SOCK_CLOEXEC, unix.NETLINK_USERSOCK)
	if err != nil {
		return fail(err)
	}
	// The kernel prefers the process ID as port. If another socket has it, connect(2)
	// makes the kernel choose.
	unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: uint32(c.TID())})
	err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: kernel})
	if err != nil {
		linux.Close(fd)
		k.Logger.Debug("netlink", "err", err)
		return passthrough
	}
	if port, err := netlinkPort(fd); err == nil {
		k.claim(port, port)
	}
	k.lookAgain()
	return descriptor(fd, typ&unix.SOCK_CLOEXEC != 0, func() { linux.Close(fd) })
}

// has reports whether a copied descriptor is such a socket.
func (k *netlinks) has(fd int) bool {
	if !k.used() {
		return false
	}
	domain, err := linux.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil || domain != unix.AF_NETLINK {
		return false
	}
	proto, err := linux.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
	return err == nil && proto == unix.NETLINK_USERSOCK
}

// netlinkPort returns a socket's own port.
func netlinkPort(fd int) (uint32, error) {
	sa, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	a, ok := sa.(*unix.SockaddrNetlink)
	if !ok {
		return 0, unix.EAFNOSUPPORT
	}
	return a.Pid, nil
}

// readNetlinkAddr reads the address argument of bind(2), connect(2) and
// sendto(2); ok is false for AF_UNSPEC.
func readNetlinkAddr(c Call, addr uintptr, size int) (a abi.SockaddrNetlink, ok bool,
	err error) {
	var buf [abi.SizeofSockaddrStorage]byte
	b, err := readName(c, addr, size, buf[:])
	if err != nil {
		return a, false, err
	}
	return abi.ParseSockaddrNetlink(b)
}

// bind answers bind(2) on such a socket. It ignores multicast groups, which
// receive nothing, because the node's interfaces do not change.
func (k *netlinks) bind(c Call, fd int) reply {
	a, ok, err := readNetlinkAddr(c, c.Ptr(1), c.Int(2))
	if err == nil && !ok {
		err = unix.EINVAL
	}
	if err != nil {
		return fail(err)
	}
	port, err := netlinkPort(fd)
	if err != nil {
		return fail(err)
	}
	if a.Port != 0 {
		k.claim(port, a.Port)
	}
	return reply{}
}

// connect answers connect(2), which fails with EPERM for any peer but the kernel.
func (k *netlinks) connect(c Call) reply {
	a, _, err := readNetlinkAddr(c, c.Ptr(1), c.Int(2))
	if err == nil && (a.Port != 0 || a.Groups != 0) {
		err = unix.EPERM
	}
	return fail(err)
}

// name answers getsockname(2), or getpeername(2), on such a socket.
func (k *netlinks) name(c Call, fd int, peer bool) reply {
	var a abi.SockaddrNetlink
	if !peer {
		port, err := netlinkPort(fd)
		if err != nil {
			return fail(err)
		}
		a.Port = k.claimed(port)
	}
	b := a.Encode()
	return fail(writeName(c, b[:], c.Ptr(1), c.Ptr(2)))
}

// send answers a send of a request, if the destination and the descriptor are those of
// such a socket. p reads the request.
func (k *netlinks) send(c Call, addr uintptr, size int, p payload) reply {
	if !k.used() {
		return passthrough
	}
	var a abi.SockaddrNetlink
	if addr != 0 {
		var ok bool
		var err error
		if a, ok, err = readNetlinkAddr(c, addr, size); err != nil || !ok {
			return passthrough // the kernel reports the error
		}
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	if !k.has(fd) {
		return passthrough
	}
	if a.Port != 0 || a.Groups != 0 {
		return fail(unix.EPERM)
	}
	var b [maxNetlink]byte
	got, err := p(b[:])
	if err != nil {
		return fail(err)
	}
	port, err := netlinkPort(fd)
	if err != nil {
		return fail(err)
	}
	if !k.asksDiag(fd) {
		k.answer(&k.route, b[:got], port)
		return value(uintptr(got))
	}
	// The kernel walks through all sockets, which takes time.
	request := bytes.Clone(b[:got])
	return async(func(context.Context, Call) reply {
		k.answer(&k.diag, request, port)
		return value(uintptr(len(request)))
	})
}

// asksDiag reports whether a program's socket is of NETLINK_SOCK_DIAG.
func (k *netlinks) asksDiag(fd int) bool {
	sa, err := unix.Getpeername(fd)
	a, ok := sa.(*unix.SockaddrNetlink)
	return err == nil && ok && a.Pid != 0 && a.Pid == k.diag.port.Load()
}

// joinGroup answers setsockopt(2) with NETLINK_ADD_MEMBERSHIP.
func (k *netlinks) joinGroup(c Call) reply {
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	if !k.has(fd) {
		return passthrough
	}
	return reply{}
}
