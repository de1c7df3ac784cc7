package rtnetlink

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// testHost is a host with an IPv4 address.
func testHost() netif.Host {
	return netif.Host{Addr: netip.MustParsePrefix("10.111.0.2/16"), IPv6: true}
}

// request encodes a message to NETLINK_ROUTE.
func request(kind, flags uint16, seq uint32, body []byte) []byte {
	w := &netlinkWriter{seq: seq}
	w.message(kind, flags, body)
	return w.b
}

// rtmGetPrefix follows RTM_NEWPREFIX of linux/rtnetlink.h: the kernel has no handler for
// it.
const rtmGetPrefix = 54

// kinds returns the types of an answer's messages, and fails the test if one is
// malformed.
func kinds(t testing.TB, b []byte) (kinds []uint16) {
	t.Helper()
	for len(b) > 0 {
		m, rest, ok := parseNetlink(b)
		if !ok {
			t.Fatalf("the rest of the answer is malformed: %x", b)
		}
		kinds = append(kinds, m.kind)
		b = rest
	}
	return kinds
}

func TestAnswerNetlink(t *testing.T) {
	any := make([]byte, sizeofIfinfomsg)
	six := append([]byte{unix.AF_INET6}, any[1:]...)
	attr := func(kind uint16, v string) []byte {
		w := &netlinkWriter{b: make([]byte, 4)}
		w.attribute(kind, []byte(v))
		return w.b[4:]
	}
	for _, tc := range []struct {
		name        string
		kind, flags uint16
		body        []byte
		want        []uint16
		errno       unix.Errno
	}{
		{"links", unix.RTM_GETLINK, unix.NLM_F_DUMP, any,
			[]uint16{unix.RTM_NEWLINK, unix.RTM_NEWLINK, unix.NLMSG_DONE}, 0},
		{"neighbours", unix.RTM_GETNEIGH, unix.NLM_F_DUMP, any, []uint16{unix.NLMSG_DONE}, 0},
		{"routes over IPv6", unix.RTM_GETROUTE, unix.NLM_F_DUMP, six,
			[]uint16{unix.RTM_NEWROUTE, unix.NLMSG_DONE}, 0},
		{"by name", unix.RTM_GETLINK, 0,
			append(any[:len(any):len(any)], attr(unix.IFLA_IFNAME, "boxer0\x00")...),
			[]uint16{unix.RTM_NEWLINK}, 0},
		{"nobody's name", unix.RTM_GETLINK, 0,
			append(any[:len(any):len(any)], attr(unix.IFLA_IFNAME, "eth0")...), nil,
			unix.ENODEV},
		{"cut attribute", unix.RTM_GETLINK, 0, append(any[:len(any):len(any)], 9, 0, 3),
			nil, unix.EINVAL},
		{"no name", unix.RTM_GETLINK, 0, any, nil, unix.EINVAL},
		{"change", unix.RTM_NEWADDR, 0, any, nil, unix.EPERM},
		{"unknown", 4000, 0, any, nil, unix.EOPNOTSUPP},
		{"empty", unix.RTM_GETLINK, unix.NLM_F_DUMP, nil, nil, 0},
		{"acknowledged", unix.RTM_GETLINK, unix.NLM_F_ACK, nil,
			[]uint16{unix.NLMSG_ERROR}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.errno != 0 {
				tc.want = []uint16{unix.NLMSG_ERROR}
			}
			got := Answer(testHost(), request(tc.kind, tc.flags|unix.NLM_F_REQUEST,
				5, tc.body), 9)
			if k := kinds(t, got); len(k) != len(tc.want) || len(k) > 0 &&
				k[len(k)-1] != tc.want[len(k)-1] {
				t.Fatalf("got messages %v, want %v", k, tc.want)
			}
			if len(got) > 0 && (binary.NativeEndian.Uint32(got[8:]) != 5 ||
				binary.NativeEndian.Uint32(got[12:]) != 9) {
				t.Errorf("seq and pid are %x", got[8:16])
			}
			if tc.errno != 0 && -int32(binary.NativeEndian.Uint32(got[sizeofNlmsghdr:])) != int32(tc.errno) {
				t.Errorf("errno is %d, want %v",
					int32(binary.NativeEndian.Uint32(got[sizeofNlmsghdr:])), tc.errno)
			}
		})
	}
}

// TestDumpFamily asks for dumps by families that have handlers of their own, and by
// those that have none: these are answered as AF_UNSPEC.
func TestDumpFamily(t *testing.T) {
	h := testHost()
	h.Addr6 = netip.MustParsePrefix("fd6f:7865:72::a6f:2/64")
	for _, tc := range []struct {
		name      string
		kind      uint16
		family    uint8
		four, six bool
		errno     unix.Errno
	}{
		{"all addresses", unix.RTM_GETADDR, unix.AF_UNSPEC, true, true, 0},
		{"IPv4 addresses", unix.RTM_GETADDR, unix.AF_INET, true, false, 0},
		{"IPv6 addresses", unix.RTM_GETADDR, unix.AF_INET6, false, true, 0},
		{"addresses for AF_PACKET", unix.RTM_GETADDR, unix.AF_PACKET, true, true, 0},
		{"addresses for an unknown family", unix.RTM_GETADDR, 200, true, true, 0},
		{"routes for AF_PACKET", unix.RTM_GETROUTE, unix.AF_PACKET, true, true, 0},
		{"IPv4 multicast routes", unix.RTM_GETROUTE, familyIPMR, false, false, 0},
		{"IPv4 rules", unix.RTM_GETRULE, unix.AF_INET, true, false, 0},
		{"rules for AF_PACKET", unix.RTM_GETRULE, unix.AF_PACKET, false, false, 0},
		{"prefixes", rtmGetPrefix, unix.AF_INET, false, false, unix.EOPNOTSUPP},
		{"IPv4 labels", unix.RTM_GETADDRLABEL, unix.AF_INET, false, false,
			unix.EOPNOTSUPP},
	} {
		t.Run(tc.name, func(t *testing.T) {
			body := make([]byte, sizeofRtmsg)
			body[0] = tc.family
			b := Answer(h, request(tc.kind, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 1, body), 1)
			families := make(map[uint8]bool)
			var last netlinkRequest
			for len(b) > 0 {
				m, rest, ok := parseNetlink(b)
				if !ok {
					t.Fatalf("malformed: %x", b)
				}
				if m.kind != unix.NLMSG_DONE && m.kind != unix.NLMSG_ERROR {
					families[m.body[0]] = true
				}
				last, b = m, rest
			}
			if families[unix.AF_INET] != tc.four || families[unix.AF_INET6] != tc.six {
				t.Errorf("families are %v", families)
			}
			want := uint16(unix.NLMSG_DONE)
			if tc.errno != 0 {
				want = unix.NLMSG_ERROR
				if got := -int32(binary.NativeEndian.Uint32(last.body)); got != int32(tc.errno) {
					t.Errorf("errno is %d, want %v", got, tc.errno)
				}
			}
			if last.kind != want {
				t.Errorf("the last message is %d, want %d", last.kind, want)
			}
		})
	}
}

// FuzzNetlink gives a host what a program may write into a netlink socket.
func FuzzNetlink(f *testing.F) {
	f.Add(request(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, 1,
		make([]byte, sizeofIfinfomsg)))
	f.Add(request(unix.RTM_GETLINK, unix.NLM_F_REQUEST, 1,
		append(make([]byte, sizeofIfinfomsg), 7, 0, 3, 0, 'l', 'o', 0, 0)))
	f.Add(request(unix.RTM_GETROUTE, unix.NLM_F_REQUEST, 1,
		append([]byte{2, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 8, 0, 1, 0, 10, 111, 0, 1)))
	f.Add(request(unix.RTM_GETADDR, unix.NLM_F_REQUEST|unix.NLM_F_DUMP|unix.NLM_F_ACK, 1,
		[]byte{2}))
	h := testHost()
	f.Fuzz(func(t *testing.T, b []byte) {
		kinds(t, Answer(h, b, 1))
	})
}
