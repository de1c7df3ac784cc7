package abi

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

func TestHostUnreachable(t *testing.T) {
	report := make([]byte, SizeofSockExtendedErr)
	binary.NativeEndian.PutUint32(report, uint32(unix.ECONNREFUSED))
	report[offsetEECode] = 3
	control := appendControl(nil, unix.IPPROTO_IP, unix.IP_TTL, []byte{64, 0, 0, 0})
	control = appendControl(control, unix.IPPROTO_IP, unix.IP_RECVERR, report)
	HostUnreachableErrors(control)
	for m := range ControlMessages(control) {
		switch {
		case m.Type == unix.IP_TTL && m.Data[0] != 64:
			t.Errorf("IP_TTL became %x", m.Data)
		case m.Type == unix.IP_RECVERR &&
			(binary.NativeEndian.Uint32(m.Data) != uint32(unix.EHOSTUNREACH) ||
				m.Data[offsetEECode] != icmpHostUnreachable):
			t.Errorf("IP_RECVERR became %x", m.Data)
		}
	}
}

// TestICMPv6Errors turns reports of ICMP into those of ICMPv6, and leaves others alone.
func TestICMPv6Errors(t *testing.T) {
	for _, tc := range []struct {
		name       string
		level, typ int
		in, want   [3]byte // origin, type and code of struct sock_extended_err
	}{
		{"port unreachable", unix.IPPROTO_IPV6, unix.IPV6_RECVERR,
			[3]byte{unix.SO_EE_ORIGIN_ICMP, 3, 3},
			[3]byte{unix.SO_EE_ORIGIN_ICMP6, 1, 4}},
		{"host unreachable", unix.IPPROTO_IPV6, unix.IPV6_RECVERR,
			[3]byte{unix.SO_EE_ORIGIN_ICMP, 3, 1},
			[3]byte{unix.SO_EE_ORIGIN_ICMP6, 1, 3}},
		{"another type", unix.IPPROTO_IPV6, unix.IPV6_RECVERR,
			[3]byte{unix.SO_EE_ORIGIN_ICMP, 11, 0},
			[3]byte{unix.SO_EE_ORIGIN_ICMP6, 11, 0}},
		{"of the host itself", unix.IPPROTO_IPV6, unix.IPV6_RECVERR,
			[3]byte{unix.SO_EE_ORIGIN_LOCAL, 3, 3},
			[3]byte{unix.SO_EE_ORIGIN_LOCAL, 3, 3}},
		{"of an IPv4 socket", unix.IPPROTO_IP, unix.IP_RECVERR,
			[3]byte{unix.SO_EE_ORIGIN_ICMP, 3, 3}, [3]byte{unix.SO_EE_ORIGIN_ICMP, 3, 3}},
	} {
		report := make([]byte, SizeofSockExtendedErr)
		copy(report[offsetEEOrigin:], tc.in[:])
		b := appendControl(nil, tc.level, tc.typ, report)
		ICMPv6Errors(b)
		for m := range ControlMessages(b) {
			if got := [3]byte(m.Data[offsetEEOrigin:]); got != tc.want {
				t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
			}
		}
	}
	// too short
	ICMPv6Errors(appendControl(nil, unix.IPPROTO_IPV6, unix.IPV6_RECVERR, nil))
}
