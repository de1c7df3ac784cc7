package syscalls

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDatagramCalls makes the calls that send and receive datagrams, on Linux and on
// boxer.
func TestDatagramCalls(t *testing.T) {
	for _, tc := range datagramCases {
		t.Run(tc.name, func(t *testing.T) {
			compareWith(t, tc.known, carryDatagrams, tc.run)
		})
	}
}

// carryDatagrams lets the nodes of a world send each other datagrams.
func carryDatagrams(w *world) {
	for _, m := range []*machine{w.a, w.b} {
		m.node.Datagrams = datagramNet{w.net}
		m.node.CopyFD = func(_, fd int) (int, error) {
			return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
		}
	}
}

var datagramCases = []struct {
	name  string
	known differences
	run   func(*script)
}{
	{name: "sendto and recvfrom", run: func(s *script) {
		client, server := s.udp(s.a), s.udp(s.b)
		server.bind("0.0.0.0:7000")
		client.sendto("question", "B:7000", 0)
		server.readable()
		server.recvfrom(64, unix.MSG_PEEK)
		server.recvfrom(3, unix.MSG_TRUNC)
		server.recvfrom(64, unix.MSG_DONTWAIT)
		client.sendto("question", "B:0", 0)
		client.sendto("", "B:7000", 0)
		server.readable()
		server.recvfrom(64, 0)
	}},
	{name: "recvfrom waits", run: func(s *script) {
		client, server := s.udp(s.a), s.udp(s.b)
		server.bind("0.0.0.0:7000")
		client.sendto("first", "B:7000", 0)
		server.readable()
		server.recvfrom(64, 0)
		wait := server.recvfromLater(64, 0)
		client.sendto("second", "B:7000", 0)
		wait()
		server.setTimeout(unix.SO_RCVTIMEO, 20)
		server.recvfrom(64, 0)
	}},
	{name: "sendmsg and recvmsg", run: func(s *script) {
		client, server := s.udp(s.a), s.udp(s.b)
		server.bind("0.0.0.0:7000")
		server.set(unix.IPPROTO_IP, unix.IP_PKTINFO, 1)
		server.set(unix.IPPROTO_IP, unix.IP_RECVTTL, 1)
		client.sendmsg("question", "B:7000", nil, 0)
		server.readable()
		server.recvmsg(64, 256, true, unix.MSG_PEEK)
		server.recvmsg(3, 16, true, unix.MSG_TRUNC)
		client.connect("B:7000")
		client.sendmsg("connected", "", nil, 0)
		server.readable()
		server.recvmsg(64, 0, false, 0)
		client.sendmsg("from itself", "", pktinfo(addrA), 0)
		server.readable()
		server.recvmsg(64, 256, true, 0)
		client.sendmsg("from elsewhere", "", pktinfo(addrB), 0)
		client.sendmsg("from itself", "B:7000", pktinfo(addrA), 0)
		server.readable()
		server.recvmsg(64, 0, true, 0)
		server.recvmsg(64, 0, true, unix.MSG_DONTWAIT)
	}},
	{name: "sendmmsg and recvmmsg", run: func(s *script) {
		client, server := s.udp(s.a), s.udp(s.b)
		server.bind("0.0.0.0:7000")
		client.sendmmsg("B:7000", 0, "one", "two", "three")
		server.readable()
		server.recvmmsg(2, 0, -1)
		server.recvmmsg(2, msgWaitForOne, -1)
		server.recvmmsg(2, unix.MSG_DONTWAIT, -1)
		client.connect("B:7000")
		client.sendmmsg("", 0, "four", "five")
		server.readable()
		server.recvmmsg(1, 0, 1e9)
		server.recvmmsg(9, 0, 0)
		client.sendmmsg("", 0)
	}},
	{name: "too long", known: differences{
		// the MTU between nodes is lower: netif.MTU
		`s1 sendto "xxxxxxxxxxxxxxxxxxxx" B:7000: 1472`: `s1 sendto "xxxxxxxxxxxxxxxxxxxx" B:7000: EMSGSIZE`,
	}, run: func(s *script) {
		client := s.udp(s.a)
		client.sendto(strings.Repeat("x", 65507), "B:7000", 0)
		client.sendto(strings.Repeat("x", 65508), "B:7000", 0)
		client.sendmsg(strings.Repeat("x", 65508), "B:7000", nil, 0)
		client.set(unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO)
		client.sendto(strings.Repeat("x", 1472), "B:7000", 0)
	}},
	{name: "nobody listens", run: func(s *script) {
		client := s.udp(s.a)
		client.set(unix.IPPROTO_IP, unix.IP_RECVERR, 1)
		client.connect("B:7000")
		client.sendto("question", "", 0)
		client.await(unix.POLLERR)
		client.soError()
		client.recvmsg(64, 512, true, unix.MSG_ERRQUEUE)
		client.recvmsg(64, 512, true, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		client.sendto("question", "", 0)
		client.await(unix.POLLERR)
		client.sendto("question", "", 0)
	}},
	{name: "addresses that are wrong", run: func(s *script) {
		client := s.udp(s.a)
		_, text := s.a.mem.take(5, []byte("hello"))
		send := func(what string, name []byte, size int) {
			_, p := s.a.mem.take(128, name)
			n, errno := client.call(unix.SYS_SENDTO, client.fdArg(), text, 5, 0, p,
				uintptr(size))
			client.printf("sendto %s: %s", what, result(n, errno))
		}
		b := encode(unix.AF_INET, s.parse("B:7000"))
		send("an address cut short", b, 7)
		send("too long an address", b, 129)
		b[0] = unix.AF_NETLINK
		send("another family", b, 16)
		n, errno := client.call(unix.SYS_SENDTO, client.fdArg(), text, 5, 0, 1, 16)
		client.printf("sendto a bad pointer: %s", result(n, errno))
		n, errno = client.call(unix.SYS_SENDMSG, client.fdArg(), 1, 0)
		client.printf("sendmsg of a bad pointer: %s", result(n, errno))
		n, errno = client.call(unix.SYS_RECVMSG, client.fdArg(), 1, unix.MSG_DONTWAIT)
		client.printf("recvmsg to a bad pointer: %s", result(n, errno))
	}},
	{name: "connected and not", run: func(s *script) {
		client, server := s.udp(s.a), s.udp(s.b)
		server.bind("B:7000")
		client.connect("B:7000")
		client.sockname()
		client.peername()
		client.sendto("to the peer", "", 0)
		server.readable()
		server.recvfrom(64, 0)
		server.connect("A:7001")
		server.sockname()
		server.peername()
		client.connect("B:7001")
		client.peername()
	}},
}

// pktinfo returns a control message that chooses the source of a datagram (ip(7)).
func pktinfo(source netip.Addr) []byte {
	b := binary.NativeEndian.AppendUint64(nil, 16+12)
	b = binary.NativeEndian.AppendUint32(b, unix.IPPROTO_IP)
	b = binary.NativeEndian.AppendUint32(b, unix.IP_PKTINFO)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, source.AsSlice()...)
	return append(b, make([]byte, 4+4)...)
}
