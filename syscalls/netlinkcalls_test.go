package syscalls

import (
	"encoding/binary"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// netlinkSock returns a NETLINK_ROUTE socket of a program on machine a.
func (s *script) netlinkSock(flags int) *sock {
	s.t.Helper()
	fd, errno := s.a.call(os.Getpid(), unix.SYS_SOCKET, unix.AF_NETLINK,
		uintptr(unix.SOCK_RAW|flags), unix.NETLINK_ROUTE)
	if errno != 0 {
		s.t.Fatal(errno)
	}
	k := s.adopt(s.a, int(fd), unix.AF_NETLINK)
	k.thread = os.Getpid()
	return k
}

// netlinkAddr returns a struct sockaddr_nl.
func netlinkAddr(port, groups uint32) []byte {
	b := abi.SockaddrNetlink{Port: port, Groups: groups}.Encode()
	return b[:]
}

// linkRequest asks for all interfaces: struct nlmsghdr, then struct ifinfomsg or, as musl
// sends it, struct rtgenmsg with padding.
func linkRequest(seq uint32, size int) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(size))
	b = binary.NativeEndian.AppendUint16(b, unix.RTM_GETLINK)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	b = binary.NativeEndian.AppendUint32(b, seq)
	return append(b, make([]byte, size-12)...)
}

// links receives an answer and returns the names of its interfaces, and the port to which
// the answer is addressed. It does not wait: the answer is there when the request's call
// has returned.
func (k *sock) links(wantSeq uint32) (names []string, port uint32) {
	k.s.t.Helper()
	var b [8192]byte
	n, _, err := unix.Recvfrom(k.fd, b[:], unix.MSG_DONTWAIT)
	if err != nil {
		k.s.t.Fatalf("no answer: %v", err)
	}
	messages, err := syscall.ParseNetlinkMessage(b[:n])
	if err != nil {
		k.s.t.Fatal(err)
	}
	for i := range messages {
		m := &messages[i]
		if port = m.Header.Pid; m.Header.Seq != wantSeq {
			k.s.t.Errorf("the answer has sequence number %d, want %d", m.Header.Seq, wantSeq)
		}
		if m.Header.Type != unix.RTM_NEWLINK {
			continue
		}
		attrs, err := syscall.ParseNetlinkRouteAttr(m)
		if err != nil {
			k.s.t.Fatal(err)
		}
		for _, a := range attrs {
			if a.Attr.Type == unix.IFLA_IFNAME {
				names = append(names, strings.TrimRight(string(a.Value), "\x00"))
			}
		}
	}
	return names, port
}

// TestNetlinkRequest asks for the interfaces by each call that can send a request.
func TestNetlinkRequest(t *testing.T) {
	s := boxedScript(t)
	tcp := s.tcp(s.a)
	kernelAddr := netlinkAddr(0, 0)
	for _, tc := range []struct {
		name string
		size int
		send func(k *sock, request []byte) unix.Errno
	}{
		{"sendto", 32, func(k *sock, request []byte) unix.Errno {
			_, p := s.a.mem.take(len(request), request)
			_, to := s.a.mem.take(len(kernelAddr), kernelAddr)
			_, errno := k.call(unix.SYS_SENDTO, k.fdArg(), p, uintptr(len(request)), 0, to,
				uintptr(len(kernelAddr)))
			return errno
		}},
		{"send, as musl does", 20, func(k *sock, request []byte) unix.Errno {
			_, p := s.a.mem.take(len(request), request)
			_, errno := k.call(unix.SYS_SENDTO, k.fdArg(), p, uintptr(len(request)))
			return errno
		}},
		{"sendmsg", 32, func(k *sock, request []byte) unix.Errno {
			h := k.newMsghdr(request, 0, nil, 0)
			h.setName(k, kernelAddr)
			_, errno := k.call(unix.SYS_SENDMSG, k.fdArg(), h.at, 0)
			return errno
		}},
		{"sendmsg without an address", 32, func(k *sock, request []byte) unix.Errno {
			h := k.newMsghdr(request, 0, nil, 0)
			_, errno := k.call(unix.SYS_SENDMSG, k.fdArg(), h.at, 0)
			return errno
		}},
		{"write", 32, func(k *sock, request []byte) unix.Errno {
			if _, err := unix.Write(k.fd, request); err != nil {
				return asErrno(err)
			}
			k.readable() // soon after, not within the call
			return 0
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := s.netlinkSock(unix.SOCK_CLOEXEC)
			defer k.shut()
			if errno := tc.send(k, linkRequest(7, tc.size)); errno != 0 {
				t.Fatal(errno)
			}
			names, port := k.links(7)
			if want := []string{"lo", netif.InterfaceName}; !slices.Equal(names, want) {
				t.Errorf("the interfaces are %q, want %q", names, want)
			}
			own, err := netlinkPort(k.fd)
			if err != nil || port != own {
				t.Errorf("the answer is for port %d, want %d, %v", port, own, err)
			}
			tcp.thread = os.Getpid()
			for range 2 { // the second time the node knows that this is another socket
				h := tcp.newMsghdr([]byte("x"), 0, nil, 0)
				if _, errno := tcp.call(unix.SYS_SENDMSG, tcp.fdArg(), h.at,
					unix.MSG_NOSIGNAL); errno != unix.EPIPE {
					t.Errorf("sendmsg on a TCP socket: %v", errno)
				}
			}
		})
	}
}

// TestNetlinkNames binds and connects, and asks for the addresses.
func TestNetlinkNames(t *testing.T) {
	s := boxedScript(t)
	k := s.netlinkSock(0)
	with := func(nr uintptr, addr []byte) unix.Errno {
		_, p := s.a.mem.take(len(addr), addr)
		_, errno := k.call(nr, k.fdArg(), p, uintptr(len(addr)))
		return errno
	}
	name := func(nr uintptr) abi.SockaddrNetlink {
		t.Helper()
		b, p := s.a.mem.take(16, nil)
		_, sp := s.a.mem.take(4, []byte{16, 0, 0, 0})
		if _, errno := k.call(nr, k.fdArg(), p, sp); errno != 0 {
			t.Fatal(errno)
		}
		a, _, err := abi.ParseSockaddrNetlink(b[:12])
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	own, err := netlinkPort(k.fd)
	if err != nil {
		t.Fatal(err)
	}
	if got := name(unix.SYS_GETSOCKNAME); got.Port != own {
		t.Errorf("an unbound socket has port %d, want %d", got.Port, own)
	}
	const claimed = 4711
	for _, tc := range []struct {
		what  string
		nr    uintptr
		addr  []byte
		errno unix.Errno
	}{
		{"bind to no address", unix.SYS_BIND, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0},
			unix.EINVAL},
		{"bind to an address cut short", unix.SYS_BIND, netlinkAddr(0, 0)[:8],
			unix.EINVAL},
		{"bind to any port", unix.SYS_BIND, netlinkAddr(0, 1), 0},
		{"bind to a port", unix.SYS_BIND, netlinkAddr(claimed, 0), 0},
		{"connect to the kernel", unix.SYS_CONNECT, netlinkAddr(0, 0), 0},
		{"connect to a process", unix.SYS_CONNECT, netlinkAddr(1, 0), unix.EPERM},
		{"connect to a group", unix.SYS_CONNECT, netlinkAddr(0, 1), unix.EPERM},
	} {
		if errno := with(tc.nr, tc.addr); errno != tc.errno {
			t.Errorf("%s: %v, want %v", tc.what, errno, tc.errno)
		}
	}
	if got := name(unix.SYS_GETSOCKNAME); got.Port != claimed {
		t.Errorf("the socket has port %d, want %d", got.Port, claimed)
	}
	if got := name(unix.SYS_GETPEERNAME); got.Port != 0 {
		t.Errorf("the peer is %+v, want the kernel", got)
	}
	request := linkRequest(9, 32)
	_, p := s.a.mem.take(len(request), request)
	send := func(addr []byte) unix.Errno {
		_, to := s.a.mem.take(len(addr), addr)
		_, errno := k.call(unix.SYS_SENDTO, k.fdArg(), p, uintptr(len(request)), 0, to,
			uintptr(len(addr)))
		return errno
	}
	if errno := send(netlinkAddr(claimed, 0)); errno != unix.EPERM {
		t.Errorf("a request to another process: %v", errno)
	}
	if errno := send(netlinkAddr(0, 0)); errno != 0 {
		t.Fatal(errno)
	}
	if _, port := k.links(9); port != claimed {
		t.Errorf("the answer is for port %d, want the one that was bound, %d", port, claimed)
	}
	_, groups := s.a.mem.take(4, []byte{1, 0, 0, 0})
	if _, errno := k.call(unix.SYS_SETSOCKOPT, k.fdArg(), unix.SOL_NETLINK,
		unix.NETLINK_ADD_MEMBERSHIP, groups, 4); errno != 0 {
		t.Errorf("NETLINK_ADD_MEMBERSHIP: %v", errno)
	}
}

// TestNetlinkSource receives an answer by recvmsg(2): it comes from the kernel.
func TestNetlinkSource(t *testing.T) {
	s := boxedScript(t)
	k := s.netlinkSock(unix.SOCK_NONBLOCK)
	h := k.newMsghdr(linkRequest(1, 32), 0, nil, 0)
	if _, errno := k.call(unix.SYS_SENDMSG, k.fdArg(), h.at, 0); errno != 0 {
		t.Fatal(errno)
	}
	h = k.newMsghdr(nil, 8192, nil, 0)
	h.setName(k, nil)
	if n, errno := k.call(unix.SYS_RECVMSG, k.fdArg(), h.at, 0); errno != 0 || n == 0 {
		t.Fatalf("recvmsg: %d, %v", n, errno)
	}
	from, ok, err := abi.ParseSockaddrNetlink(h.name[:12])
	if err != nil || !ok || from.Port != 0 || from.Groups != 0 {
		t.Errorf("the answer is from %+v, %v, %v", from, ok, err)
	}
	if n, errno := k.call(unix.SYS_RECVMSG, k.fdArg(), h.at, 0); errno != 0 && errno !=
		unix.EAGAIN {
		t.Errorf("recvmsg once more: %d, %v", n, errno)
	}
}

// TestNetlinkClaims has more sockets claim ports than the node remembers.
func TestNetlinkClaims(t *testing.T) {
	var k netlinks
	for port := range uint32(maxClaims + 9) {
		k.claim(port, port+1<<20)
	}
	if len(k.claims) != maxClaims {
		t.Errorf("%d claims are kept, want %d", len(k.claims), maxClaims)
	}
	if last := uint32(maxClaims + 8); k.claimed(last) != last+1<<20 {
		t.Errorf("the last socket has port %d", k.claimed(last))
	}
	if k.claim(1, 1); k.claimed(1) != 1 {
		t.Error("a socket that claims its own port has another")
	}
}
