package syscalls

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLoopbackInterface(t *testing.T) {
	group, any, lo, own := []byte{224, 0, 0, 251}, make([]byte, 4), []byte{127, 0, 0, 1},
		[]byte{10, 111, 0, 2}
	first, second := []byte{1, 0, 0, 0}, []byte{2, 0, 0, 0} // indices, little-endian
	group6 := make([]byte, 16)
	for _, tc := range []struct {
		name   string
		level  uint32
		option uint32
		in     []byte
		want   bool
	}{
		{"ip_mreq any", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, slices.Concat(group, any), false},
		{"ip_mreq lo", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, slices.Concat(group, lo), true},
		{"ip_mreq own", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, slices.Concat(group, own), false},
		{"ip_mreqn lo", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, slices.Concat(group, any, first), true},
		{"ip_mreqn other", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			slices.Concat(group, lo, second), false},
		{"ip_mreqn address", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
			slices.Concat(group, lo, any), true},
		{"ip_mreq_source lo", unix.IPPROTO_IP, unix.IP_ADD_SOURCE_MEMBERSHIP,
			slices.Concat(group, lo, own), true},
		{"ipv6_mreq any", unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, slices.Concat(group6, any), false},
		{"ipv6_mreq lo", unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, slices.Concat(group6, first), true},
		{"group_req other", unix.IPPROTO_IP, unix.MCAST_JOIN_GROUP,
			slices.Concat(second, make([]byte, 60)), false},
		{"group_req lo", unix.IPPROTO_IPV6, unix.MCAST_JOIN_GROUP,
			slices.Concat(first, make([]byte, 60)), true},
		// the kernel says EINVAL
		{"too short", unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP, group, true},
		{"empty", unix.IPPROTO_IPV6, unix.MCAST_JOIN_GROUP, nil, true},
	} {
		if got := loopbackInterface(tc.level, tc.option, tc.in); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}
