package abi

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// appendControl appends a control message.
func appendControl(b []byte, level, kind int, data []byte) []byte {
	b = binary.NativeEndian.AppendUint64(b, uint64(sizeofCmsghdr+len(data)))
	b = binary.NativeEndian.AppendUint32(b, uint32(level))
	b = binary.NativeEndian.AppendUint32(b, uint32(kind))
	b = append(b, data...)
	for len(b)%cmsgAlign != 0 {
		b = append(b, 0)
	}
	return b
}

func sockaddrBytes(addr string, isV6 bool) []byte {
	return AppendSockaddr(nil, Sockaddr{Addr: netip.MustParseAddrPort(addr), V6: isV6})
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func TestTranslateControl(t *testing.T) {
	local := func(a netip.AddrPort) netip.AddrPort {
		return netip.AddrPortFrom(netip.MustParseAddr("10.111.0.2"), a.Port()+1)
	}
	offender := func(netip.AddrPort) netip.AddrPort { return netip.MustParseAddrPort("10.111.0.3:0") }
	alias, own := []byte{127, 64, 1, 8}, []byte{10, 111, 0, 2}
	mapped := join(make([]byte, 10), []byte{0xff, 0xff})
	index, came, report := []byte{1, 0, 0, 0}, []byte{7, 0, 0, 0},
		make([]byte, SizeofSockExtendedErr)
	ip, ip6 := unix.IPPROTO_IP, unix.IPPROTO_IPV6
	for _, tc := range []struct {
		name        string
		level, kind int
		in, want    []byte
	}{
		{"IP_PKTINFO", ip, unix.IP_PKTINFO, join(index, alias, alias),
			join(came, own, own)},
		{"short IP_PKTINFO", ip, unix.IP_PKTINFO, join(index, alias), join(index, alias)},
		{"IPV6_PKTINFO", ip6, unix.IPV6_PKTINFO, join(mapped, alias, index),
			join(mapped, own, came)},
		{"IP_ORIGDSTADDR", ip, ipOrigDstAddr, sockaddrBytes("127.64.1.8:7", false),
			sockaddrBytes("10.111.0.2:8", false)},
		{"IPV6_ORIGDSTADDR", ip6, ipv6OrigDstAddr,
			sockaddrBytes("[::ffff:127.64.1.8]:7", true),
			sockaddrBytes("[::ffff:10.111.0.2]:8", true)},
		{"IP_RECVERR", ip, unix.IP_RECVERR,
			join(report, sockaddrBytes("127.64.1.13:0", false)),
			join(report, sockaddrBytes("10.111.0.3:0", false))},
		{"IP_RECVERR without an offender", ip, unix.IP_RECVERR, report, report},
		{"IP_TTL", ip, unix.IP_TTL, []byte{64, 0, 0, 0}, []byte{64, 0, 0, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ttl := appendControl(nil, ip, unix.IP_TTL, []byte{1, 0, 0, 0})
			b := join(appendControl(ttl, tc.level, tc.kind, tc.in), ttl)
			TranslateControl(b, local, offender, 7)
			if want := join(appendControl(ttl, tc.level, tc.kind, tc.want),
				ttl); !bytes.Equal(b, want) {
				t.Errorf("got  %x\nwant %x", b, want)
			}
		})
	}
}

func TestWithoutSource(t *testing.T) {
	ttl := appendControl(nil, unix.IPPROTO_IP, unix.IP_TTL, []byte{1, 0, 0, 0})
	source := appendControl(nil, unix.IPPROTO_IP, unix.IP_PKTINFO,
		[]byte{1, 0, 0, 0, 10, 111, 0, 2, 0, 0, 0, 0})
	short := appendControl(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, []byte{1, 0, 0, 0})
	six := appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_PKTINFO,
		join(make([]byte, 10), []byte{0xff, 0xff, 10, 111, 0, 2, 0, 0, 0, 0}))
	malformed := binary.NativeEndian.AppendUint64(nil, 3)
	malformed = append(malformed, make([]byte, 8)...)
	for _, tc := range []struct {
		name     string
		in, rest []byte
		source   string
	}{
		{"nothing", nil, nil, "invalid IP"},
		{"none", ttl, ttl, "invalid IP"},
		{"alone", source, nil, "10.111.0.2"},
		{"between", join(ttl, source, ttl), join(ttl, ttl), "10.111.0.2"},
		{"IPv6", join(six, ttl), ttl, "10.111.0.2"},
		{"too short", short, short, "invalid IP"}, // the kernel says EINVAL
		{"malformed", join(source, malformed), malformed, "10.111.0.2"},
	} {
		rest, got, cut := CutSource(tc.in)
		if !bytes.Equal(rest, tc.rest) || got.String() != tc.source ||
			cut != got.IsValid() {
			t.Errorf("%s: rest %x, source %v, cut %v; want %x, %s", tc.name, rest, got,
				cut, tc.rest, tc.source)
		}
	}
}

func FuzzControl(f *testing.F) {
	f.Add(appendControl(nil, unix.IPPROTO_IP, unix.IP_PKTINFO, make([]byte, sizeofPktinfo)))
	f.Add(appendControl(nil, unix.IPPROTO_IP, unix.IP_RECVERR,
		join(make([]byte, SizeofSockExtendedErr), sockaddrBytes("127.64.1.13:0", false))))
	f.Fuzz(func(t *testing.T, b []byte) {
		same := func(a netip.AddrPort) netip.AddrPort { return a }
		before := bytes.Clone(b)
		TranslateControl(b, same, same, 1)
		if len(b) != len(before) {
			t.Fatalf("%d bytes became %d", len(before), len(b))
		}
		rest, source, cut := CutSource(b)
		if cut != source.IsValid() || len(rest) > len(b) || !cut &&
			!bytes.Equal(rest, b) {
			t.Fatalf("%x: rest %x, source %v", b, rest, source)
		}
		if again, _, cut := CutSource(rest); cut && len(again) == len(rest) {
			t.Fatalf("%x: a source was left", rest)
		}
	})
}
