package sockdiag

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// op encodes a struct inet_diag_bc_op.
func op(code byte, yes int, no int) []byte {
	return binary.NativeEndian.AppendUint16([]byte{code, byte(yes)}, uint16(no))
}

// host encodes a struct inet_diag_hostcond.
func host(prefix string, port int32) []byte {
	p := netip.MustParsePrefix(prefix)
	family := byte(unix.AF_INET)
	if p.Addr().Is6() {
		family = unix.AF_INET6
	}
	b := []byte{family, byte(p.Bits()), 0, 0}
	b = binary.NativeEndian.AppendUint32(b, uint32(port))
	return append(b, p.Addr().AsSlice()...)
}

func join(parts ...[]byte) (f filter) {
	for _, p := range parts {
		f = append(f, p...)
	}
	return f
}

func TestFilter(t *testing.T) {
	s := Socket{Family: unix.AF_INET, Local: netip.MustParseAddrPort("10.111.0.2:5432"),
		Remote: netip.MustParseAddrPort("10.111.0.3:40000")}
	port := func(code byte, number int) filter {
		return join(op(code, 8, 12), op(0, 0, number))
	}
	where := func(code byte, prefix string, port int32) filter {
		h := host(prefix, port)
		return join(op(code, 4+len(h), 8+len(h)), h)
	}
	for _, tc := range []struct {
		name   string
		f      filter
		passes bool
	}{
		{"none", nil, true},
		{"sport = 5432", port(opSportEQ, 5432), true},
		{"sport = 5433", port(opSportEQ, 5433), false},
		{"sport >= 5432", port(opSportGE, 5432), true},
		{"sport >= 5433", port(opSportGE, 5433), false},
		{"sport <= 5432", port(opSportLE, 5432), true},
		{"sport <= 5431", port(opSportLE, 5431), false},
		{"dport = 40000", port(opDportEQ, 40000), true},
		{"dport >= 40001", port(opDportGE, 40001), false},
		{"dport <= 40000", port(opDportLE, 40000), true},
		{"src 10.111.0.2", where(opSource, "10.111.0.2/32", -1), true},
		{"src 10.111.0.2:5432", where(opSource, "10.111.0.2/32", 5432), true},
		{"src 10.111.0.2:1", where(opSource, "10.111.0.2/32", 1), false},
		{"src 10.112.0.0/16", where(opSource, "10.112.0.0/16", -1), false},
		{"dst 10.111.0.0/16", where(opDest, "10.111.0.0/16", -1), true},
		{"dst anything", where(opDest, "0.0.0.0/0", -1), true},
		{"dst in IPv6", where(opDest, "::ffff:10.111.0.3/128", -1), true},
		{"dst of IPv6", where(opDest, "fd00::/8", -1), false},
		{"nop", op(opNop, 4, 4), true},
		{"jump to the end", op(opJmp, 4, 4), true},
		{"jump beyond the end", op(opJmp, 4, 8), false},
		{"not sport = 5432", join(op(opSportEQ, 8, 12), op(0, 0, 5432), op(opJmp, 4, 8)), false},
		{"not sport = 1", join(op(opSportEQ, 8, 12), op(0, 0, 1), op(opJmp, 4, 8)), true},
	} {
		if got := tc.f.passes(s); got != tc.passes {
			t.Errorf("%s: %t, want %t", tc.name, got, tc.passes)
		}
		if !tc.f.isOurs() {
			t.Errorf("%s is left to the kernel", tc.name)
		}
	}
	for name, f := range map[string]filter{
		"a device":            op(opDevice, 8, 12),
		"a mark":              op(opMark, 8, 12),
		"what is not known":   op(99, 4, 4),
		"backwards":           op(opNop, 0, 0),
		"cut short":           {opNop},
		"far beyond the end":  op(opNop, 4, 400),
		"ports that are auto": op(opAuto, 4, 8),
	} {
		if f.isOurs() {
			t.Errorf("%s is not left to the kernel", name)
		}
	}
}

// A jump between two operations ends the filter.
func TestFilterJumps(t *testing.T) {
	f := join(op(opNop+1, 12, 4), make([]byte, 8))
	if f.passes(Socket{}) {
		t.Error("the socket passes")
	}
}

func FuzzFilter(f *testing.F) {
	f.Add([]byte(join(op(opNop+1, 12, 4), make([]byte, 8))))

	f.Add([]byte(join(op(opSource, 16, 20), host("10.0.0.0/8", -1))))
	f.Fuzz(func(t *testing.T, b []byte) {
		if p := filter(b); p.isOurs() {
			p.passes(Socket{Family: unix.AF_INET,
				Local: netip.MustParseAddrPort("10.111.0.2:80")})
		}
	})
}
