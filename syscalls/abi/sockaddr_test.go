package abi

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// family returns a family as it lies in memory, in hex.
func family(f uint16) string {
	return hex.EncodeToString(binary.NativeEndian.AppendUint16(nil, f))
}

func TestParseSockaddr(t *testing.T) {
	const mapped = "00000000 00000000 0000ffff 0a6f0002"
	for _, tc := range []struct {
		name, in string
		want     string
		isV6     bool
		least    int // bytes that are needed
	}{
		{name: "inet", in: family(unix.AF_INET) + "1f90 7f000001 0000000000000000",
			want: "127.0.0.1:8080", least: 16},
		{name: "inet with padding", in: family(unix.AF_INET) +
			"0050 0a6f0002 1122334455667788", want: "10.111.0.2:80", least: 16},
		{name: "inet6", in: family(unix.AF_INET6) +
			"1f90 00000000 00000000000000000000000000000001 00000000",
			want: "[::1]:8080", isV6: true, least: 24},
		{name: "inet6 without scope", in: family(unix.AF_INET6) +
			"1f90 00000000 00000000000000000000000000000001",
			want: "[::1]:8080", isV6: true, least: 24},
		{name: "mapped", in: family(unix.AF_INET6) + "1f90 00000000" + mapped + "00000000",
			want: "[::ffff:10.111.0.2]:8080", isV6: true, least: 24},
	} {
		t.Run(tc.name, func(t *testing.T) {
			in := unhex(t, tc.in)
			for n := range in {
				got, err := ParseSockaddr(in[:n])
				if n < tc.least && !errors.Is(err, unix.EINVAL) {
					t.Errorf("the first %d bytes: %v, %v; want EINVAL", n, got, err)
				}
			}
			got, err := ParseSockaddr(in)
			if err != nil || got.Addr.String() != tc.want || got.V6 != tc.isV6 {
				t.Errorf("got %+v, %v; want %s", got, err, tc.want)
			}
		})
	}
	for _, f := range []uint16{unix.AF_UNSPEC, unix.AF_UNIX, unix.AF_NETLINK,
		unix.AF_PACKET, 0xffff} {
		if got, err := ParseSockaddr(unhex(t,
			family(f)+strings.Repeat("00", 126))); !errors.Is(err, unix.EAFNOSUPPORT) {
			t.Errorf("family %d: %v, %v; want EAFNOSUPPORT", f, got, err)
		}
	}
}

func TestSockaddrFields(t *testing.T) {
	in := unhex(t, family(unix.AF_INET6)+"1f90 11223344 fe800000000000000000000000000001 05000000")
	s, err := ParseSockaddr(in)
	if err != nil {
		t.Fatal(err)
	}
	if got := AppendSockaddr(nil, s); !bytes.Equal(got, in) {
		t.Errorf("%x came back as %x", in, got)
	}
	// An IPv4 address becomes v4-mapped where the socket is AF_INET6.
	s = Sockaddr{Addr: netip.MustParseAddrPort("10.111.0.2:80"), V6: true}
	want := unhex(t, family(unix.AF_INET6)+
		"0050 00000000 00000000 00000000 0000ffff 0a6f0002 00000000")
	if got := AppendSockaddr(nil, s); !bytes.Equal(got, want) {
		t.Errorf("got %x, want %x", got, want)
	}
}

// TestSockaddrOfOtherFamily writes what a neighbour may have made up.
func TestSockaddrOfOtherFamily(t *testing.T) {
	for _, s := range []Sockaddr{{Addr: netip.MustParseAddrPort("[2001:db8::1]:80")},
		{Addr: netip.AddrPortFrom(netip.Addr{}, 80)},
		{Addr: netip.AddrPortFrom(netip.Addr{}, 80), V6: true}} {
		got, err := ParseSockaddr(AppendSockaddr(nil, s))
		if err != nil || got.V6 != s.V6 || got.Addr.Port() != 80 ||
			!got.Addr.Addr().IsUnspecified() {
			t.Errorf("%+v is written as %+v, %v", s, got, err)
		}
	}
}

func FuzzParseSockaddr(f *testing.F) {
	for _, text := range []string{family(unix.AF_INET) + "1f90 7f000001 0000000000000000",
		family(unix.AF_INET6) + "1f90 00000000 00000000000000000000000000000001 00000000",
		family(unix.AF_INET6) + "1f90 01020304 00000000 00000000 0000ffff 0a6f0002",
		family(unix.AF_UNIX) + "2f78", "02"} {
		f.Add(unhex(f, text))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSockaddr(b)
		if err != nil {
			if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EAFNOSUPPORT) {
				t.Fatalf("error %v", err)
			}
			return
		}
		out := AppendSockaddr(nil, s)
		if again, err := ParseSockaddr(out); err != nil || again != s {
			t.Fatalf("%+v came back as %+v (%v)", s, again, err)
		}
		// What programs get is what they gave, but for padding, and for a scope that is
		// cut short.
		n := 8
		switch {
		case s.V6 && len(b) < SizeofSockaddrInet6:
			n = MinSockaddrInet6
		case s.V6:
			n = SizeofSockaddrInet6
		}
		if !bytes.Equal(out[:n], b[:n]) {
			t.Fatalf("%x was written as %x", b, out)
		}
	})
}
