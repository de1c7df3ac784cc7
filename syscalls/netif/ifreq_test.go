package netif

import (
	"bytes"
	"errors"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// FuzzIfreq gives the host a struct ifreq of a program's.
func FuzzIfreq(f *testing.F) {
	f.Add(uint32(unix.SIOCGIFADDR), []byte("boxer0"))
	f.Add(uint32(unix.SIOCGIFHWADDR), []byte("lo"))
	f.Add(uint32(unix.SIOCGIFNAME), append(make([]byte, unix.IFNAMSIZ), 2))
	h := dualHost()
	f.Fuzz(func(t *testing.T, request uint32, b []byte) {
		var r [abi.SizeofIfreq]byte
		copy(r[:], b)
		before := r
		if err := h.Ifreq(request, &r); err != nil {
			before[unix.IFNAMSIZ-1] = 0
			if r[unix.IFNAMSIZ-1] = 0; r != before {
				t.Errorf("%v, and something is written: %x", err, r)
			}
		}
	})
}

// TestIfreq asks for each property of the virtual interface.
func TestIfreq(t *testing.T) {
	h := dualHost()
	inet := func(a ...byte) []byte { return append([]byte{unix.AF_INET, 0, 0, 0}, a...) }
	for _, tc := range []struct {
		name    string
		request uint32
		link    string
		want    []byte // after the name
		err     error
	}{
		{"SIOCGIFADDR", unix.SIOCGIFADDR, "boxer0", inet(10, 111, 0, 2), nil},
		{"SIOCGIFDSTADDR", unix.SIOCGIFDSTADDR, "boxer0", inet(10, 111, 0, 2), nil},
		{"SIOCGIFNETMASK", unix.SIOCGIFNETMASK, "boxer0", inet(255, 255, 0, 0), nil},
		{"SIOCGIFBRDADDR", unix.SIOCGIFBRDADDR, "boxer0", inet(0, 0, 0, 0), nil},
		{"SIOCGIFADDR of lo", unix.SIOCGIFADDR, "lo", inet(127, 0, 0, 1), nil},
		{"SIOCGIFNETMASK of lo", unix.SIOCGIFNETMASK, "lo", inet(255, 0, 0, 0), nil},
		{"SIOCGIFMTU", unix.SIOCGIFMTU, "boxer0", []byte{0, 5, 0, 0}, nil},
		{"SIOCGIFINDEX", unix.SIOCGIFINDEX, "boxer0", []byte{2, 0, 0, 0}, nil},
		{"SIOCGIFMETRIC", unix.SIOCGIFMETRIC, "boxer0", []byte{0, 0, 0, 0}, nil},
		{"SIOCGIFTXQLEN", siocgiftxqlen, "boxer0", []byte{0xe8, 3, 0, 0}, nil},
		{"SIOCGIFHWADDR", unix.SIOCGIFHWADDR, "boxer0",
			[]byte{unix.ARPHRD_ETHER, 0, 0x02, 0x62, 10, 111, 0, 2}, nil},
		{"SIOCGIFFLAGS", unix.SIOCGIFFLAGS, "boxer0",
			[]byte{unix.IFF_UP | unix.IFF_RUNNING | unix.IFF_NOARP, 0}, nil},
		{"SIOCGIFNAME", unix.SIOCGIFNAME, "", nil, unix.ENODEV}, // of index 0
		{"SIOCETHTOOL", unix.SIOCETHTOOL, "boxer0", nil, unix.EOPNOTSUPP},
		{"the machine's interface", unix.SIOCGIFADDR, "eth0", nil, unix.ENODEV},
	} {
		var b [abi.SizeofIfreq]byte
		copy(b[:], tc.link)
		if !IsIfreq(tc.request) {
			t.Errorf("%s is no request for Ifreq", tc.name)
		}
		err := h.Ifreq(tc.request, &b)
		if !errors.Is(err, tc.err) ||
			!bytes.HasPrefix(b[unix.IFNAMSIZ:], tc.want) {
			t.Errorf("%s: %v, % x; want %v, % x", tc.name, err, b[unix.IFNAMSIZ:], tc.err, tc.want)
		}
	}
	if IsIfreq(unix.SIOCGIFCONF) || !DescribesLink(unix.SIOCGIFMTU) ||
		DescribesLink(unix.SIOCGIFADDR) {
		t.Error("requests are taken for others")
	}
}

// TestIfconf lists the interfaces in buffers of all sizes.
func TestIfconf(t *testing.T) {
	h := dualHost()
	for _, l := range []*abi.Layout{&abi.Native, &abi.Compat} {
		for _, tc := range []struct{ room, want int }{{-1, 0}, {l.SizeofIfreq - 1, 0},
			{l.SizeofIfreq, 1}, {1000, 2}} {
			b := h.Ifconf(l, tc.room)
			if len(b) != tc.want*l.SizeofIfreq {
				t.Errorf("%d bytes in a room of %d", len(b), tc.room)
			}
			if tc.want == 2 {
				own := b[l.SizeofIfreq:]
				if !bytes.HasPrefix(own, []byte("boxer0\x00")) ||
					!bytes.Equal(own[unix.IFNAMSIZ+4:][:4], []byte{10, 111, 0, 2}) {
					t.Errorf("the second interface is %q", own)
				}
			}
		}
	}
}
