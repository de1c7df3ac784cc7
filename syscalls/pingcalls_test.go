package syscalls

import (
	"encoding/binary"
	"net/netip"
	"os"
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// A pingNet is a datagramNet whose nodes answer echoes, as transport does.
type pingNet struct{ datagramNet }

// SendEcho implements Datagrams. It answers later: a ping socket waits.
func (p pingNet) SendEcho(src, dst netip.AddrPort, ip stream.IPFields, msg []byte) bool {
	p.mu.Lock()
	from, to := p.nodes[src.Addr()], p.nodes[dst.Addr()]
	p.mu.Unlock()
	if to == nil {
		return false
	}
	msg = append([]byte(nil), msg...)
	p.tasks.Go(func() { from.DeliverEcho(dst.Addr(), src, stream.IPFields{TOS: ip.TOS}, msg) })
	return true
}

// pingSock returns a ping socket of a program on machine a.
func (s *script) pingSock(domain, proto int) *sock {
	s.t.Helper()
	fd, errno := s.a.call(os.Getpid(), unix.SYS_SOCKET, uintptr(domain), unix.SOCK_DGRAM,
		uintptr(proto))
	if errno != 0 {
		s.t.Fatal(errno)
	}
	k := s.adopt(s.a, int(fd), domain)
	k.thread = os.Getpid()
	return k
}

// echo returns an ICMP message without identifier and checksum, which the kernel sets.
func echo(kind byte, seq uint16, text string) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind, 0, 0, 0, 0, 0}, seq), text...)
}

// TestPing sends echoes from ping sockets to the other node, to the node itself and to
// localhost.
func TestPing(t *testing.T) {
	s := boxedScript(t)
	s.a.node.Datagrams, s.b.node.Datagrams = pingNet{datagramNet{s.net}},
		pingNet{datagramNet{s.net}}
	for _, tc := range []struct {
		name           string
		domain, proto  int
		request, reply byte
		to             netip.Addr
	}{
		{"a node", unix.AF_INET, unix.IPPROTO_ICMP, echoRequest, echoReply, addrB},
		{"the node itself", unix.AF_INET, unix.IPPROTO_ICMP, echoRequest, echoReply, addrA},
		{"localhost", unix.AF_INET, unix.IPPROTO_ICMP, echoRequest, echoReply,
			localhost4},
		{"a node, IPv6", unix.AF_INET6, unix.IPPROTO_ICMPV6, echoRequest6, echoReply6, addrB6},
		{"::1", unix.AF_INET6, unix.IPPROTO_ICMPV6, echoRequest6, echoReply6,
			netip.IPv6Loopback()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := s.pingSock(tc.domain, tc.proto)
			defer k.shut()
			to := encode(tc.domain, netip.AddrPortFrom(tc.to, 0))
			_, addr := s.a.mem.take(len(to), to)
			msg := echo(tc.request, 7, "payload")
			_, p := s.a.mem.take(len(msg), msg)
			n, errno := k.call(unix.SYS_SENDTO, k.fdArg(), p, uintptr(len(msg)), 0, addr,
				uintptr(len(to)))
			if errno != 0 || int(n) != len(msg) {
				t.Fatalf("sendto: %d, %v", n, errno)
			}
			k.readable()
			h := k.newMsghdr(nil, 64, nil, 0)
			h.setName(k, nil)
			n, errno = k.call(unix.SYS_RECVMSG, k.fdArg(), h.at, 0)
			got := h.data[:min(int(n), 64)]
			if errno != 0 || len(got) != len(msg) || got[0] != tc.reply ||
				string(got[6:]) != "\x00\x07payload" {
				t.Fatalf("recvmsg: %x, %v", got, errno)
			}
			// icmp(7): the identifier is the port of the socket's name
			local, lp := s.a.mem.take(28, nil)
			_, sp := s.a.mem.take(4, []byte{28, 0, 0, 0})
			if _, errno := k.call(unix.SYS_GETSOCKNAME, k.fdArg(), lp, sp); errno != 0 {
				t.Fatal(errno)
			}
			if id := binary.BigEndian.Uint16(local[2:]); id == 0 || id != echoID(got) {
				t.Errorf("the identifier is %d, and the socket's %d", echoID(got), id)
			}
			if got, _, err := namedBy(h.name); err != nil || got != tc.to {
				t.Errorf("the reply is from %v, %v; want %v", got, err, tc.to)
			}
		})
	}
}

// namedBy reads an address as a program does.
func namedBy(b []byte) (netip.Addr, uint16, error) {
	port := binary.BigEndian.Uint16(b[2:])
	if binary.NativeEndian.Uint16(b) == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[4:8])), port, nil
	}
	return netip.AddrFrom16([16]byte(b[8:24])), port, nil
}

// TestPingCalls makes the other calls on ping sockets.
func TestPingCalls(t *testing.T) {
	s := boxedScript(t)
	s.a.node.Datagrams, s.b.node.Datagrams = pingNet{datagramNet{s.net}},
		pingNet{datagramNet{s.net}}
	k, k6 := s.pingSock(unix.AF_INET, unix.IPPROTO_ICMP),
		s.pingSock(unix.AF_INET6, unix.IPPROTO_ICMPV6)
	k.getInt("SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, 4)
	k6.getInt("SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, 4)
	s.udp(s.a).getInt("SO_PROTOCOL", unix.SOL_SOCKET, unix.SO_PROTOCOL, 4)
	k.bind("A:7000")
	k.connect("B:0")
	k.peername() // the peer has no port: inet_getname in net/ipv4/af_inet.c
	k.sendto(string(echo(echoReply, 1, "")), "B:0", 0)
	k.sendto("short", "B:0", 0)
	k.sendto(string(echo(echoRequest, 1, "")), "224.0.0.1:0", 0)
	s.pingSock(unix.AF_INET, unix.IPPROTO_ICMP).bind("B:0")
	want := []string{
		"s1 get SO_PROTOCOL = 1, 4 bytes",
		"s2 get SO_PROTOCOL = 58, 4 bytes",
		"s3 get SO_PROTOCOL = 17, 4 bytes",
		"s1 bind A:7000: ok",
		"s1 connect B:0: ok",
		"s1 getpeername: ENOTCONN",
		`s1 sendto "\x00\x00\x00\x00\x00\x00\x00\x01" B:0: EINVAL`,
		`s1 sendto "short" B:0: EINVAL`,
		`s1 sendto "\b\x00\x00\x00\x00\x00\x00\x01" 224.0.0.1:0: ENETUNREACH`,
		"s4 bind B:0: EADDRNOTAVAIL",
	}
	if diff := sideBySide(want, s.lines); diff != "" {
		t.Error(diff)
	}
}

// TestAnswerOfRawSocket takes echo replies out of what a raw socket receives.
func TestAnswerOfRawSocket(t *testing.T) {
	const id = 0x1234
	reply := func(kind byte, id uint16) []byte {
		return binary.BigEndian.AppendUint16(
			binary.BigEndian.AppendUint16([]byte{kind, 0, 0, 0}, id), 1)
	}
	header := append([]byte{0x45}, make([]byte, 19)...)
	for _, tc := range []struct {
		what string
		conn egressPing
		in   []byte
		mine bool
	}{
		{"a reply", egressPing{raw: true, id: id}, append(header, reply(0, id)...), true},
		{"another's reply", egressPing{raw: true, id: id}, append(header, reply(0, 1)...),
			false},
		{"a request", egressPing{raw: true, id: id}, append(header, reply(8, id)...), false},
		{"nothing", egressPing{raw: true, id: id}, nil, false},
		{"half a header", egressPing{raw: true, id: id}, header[:7], false},
		{"a header alone", egressPing{raw: true, id: id}, header, false},
		{"IPv6, which has no header", egressPing{raw: true, isV6: true, id: id},
			reply(129, id), true},
		{"of a ping socket, whose kernel has chosen", egressPing{id: id}, reply(0, 1), true},
		{"of a ping socket, a request", egressPing{id: id}, reply(8, id), false},
	} {
		msg, mine := tc.conn.answer(tc.in)
		if mine != tc.mine || mine && len(msg) != sizeofEcho {
			t.Errorf("%s: %x, %v", tc.what, msg, mine)
		}
	}
}
