package sockdiag

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// A filter is a program of struct inet_diag_bc_op (linux/inet_diag.h), which ss(8) makes
// of an expression such as "sport = :80". It is about the addresses that programs know,
// so the kernel cannot run it.
type filter []byte

// Operations of a filter.
const (
	opNop = iota
	opJmp
	opSportGE
	opSportLE
	opDportGE
	opDportLE
	opAuto
	opSource
	opDest
	opDevice
	opMark
	opSportEQ
	opDportEQ

	sizeofOp       = 4
	sizeofHostcond = 8 // struct inet_diag_hostcond without the address
)

// withoutFilter returns a request for a dump without its filter, and the filter. A filter
// that is about other things than addresses and ports is the kernel's to run.
func withoutFilter(m message) (request []byte, f filter) {
	size := sizeofReq
	if m.kind == tcpdiagGetsock || len(m.bytes) < size {
		return m.bytes, nil // of the old protocol, whose programs send none
	}
	f = attribute(m.bytes[size:], attrBytecode)
	if len(f) == 0 || !f.isOurs() {
		return m.bytes, nil
	}
	request = append([]byte(nil), m.bytes[:size]...)
	binary.NativeEndian.PutUint32(request, uint32(size))
	return request, append(filter(nil), f...)
}

// isOurs reports whether every operation that can be reached is one that run knows, and
// leads forward.
func (f filter) isOurs() bool {
	for at := 0; at < len(f); {
		code, yes, no, ok := f.op(at)
		if !ok || code == opAuto || code == opDevice || code == opMark ||
			code > opDportEQ || yes < sizeofOp || no < sizeofOp || at+no > len(f)+sizeofOp {
			return false
		}
		at += yes
	}
	return true
}

// op reads an operation: how far it leads if it is true, and if it is not, in bytes.
func (f filter) op(at int) (code byte, yes, no int, ok bool) {
	if at < 0 || at+sizeofOp > len(f) {
		return 0, 0, 0, false
	}
	return f[at], int(f[at+1]), int(binary.NativeEndian.Uint16(f[at+2:])), true
}

// passes runs the filter (inet_diag_bc_run of net/ipv4/inet_diag.c): a socket passes if
// it leads to the end, and not beyond.
func (f filter) passes(s Socket) bool {
	at := 0
	for at < len(f) {
		code, yes, no, ok := f.op(at)
		if !ok {
			return false
		}
		step := no
		if f.holds(code, at, s) {
			step = yes
		}
		if step < sizeofOp { // what no operation leads to, but a jump between two
			return false
		}
		at += step
	}
	return at == len(f)
}

// holds reports whether the operation at an offset is true of a socket.
func (f filter) holds(code byte, at int, s Socket) bool {
	sport, dport := s.Local.Port(), s.Remote.Port()
	switch code {
	case opNop:
		return true
	case opSportGE, opSportLE, opDportGE, opDportLE, opSportEQ, opDportEQ:
		_, _, port, ok := f.op(at + sizeofOp)
		if !ok {
			return false
		}
		switch p := uint16(port); code {
		case opSportGE:
			return sport >= p
		case opSportLE:
			return sport <= p
		case opDportGE:
			return dport >= p
		case opDportLE:
			return dport <= p
		case opSportEQ:
			return sport == p
		}
		return dport == uint16(port)
	case opSource:
		return f.hostHolds(at, s.Family, s.Local)
	case opDest:
		return f.hostHolds(at, s.Family, s.Remote)
	}
	return false // opJmp
}

// hostHolds runs the condition of struct inet_diag_hostcond that follows an operation:
// a port, or any if it is -1, and a prefix.
func (f filter) hostHolds(at int, family uint8, a netip.AddrPort) bool {
	at += sizeofOp
	if at+sizeofHostcond > len(f) {
		return false
	}
	bits := int(f[at+1])
	if port := int32(binary.NativeEndian.Uint32(f[at+4:])); port != -1 &&
		port != int32(a.Port()) {
		return false
	}
	if bits == 0 {
		return true
	}
	want, ok := f.hostAt(at)
	if !ok {
		return false
	}
	of := a.Addr()
	if !of.IsValid() { // no far end: zeros
		if of = netip.IPv4Unspecified(); family == unix.AF_INET6 {
			of = netip.IPv6Unspecified()
		}
	}
	if want.Is4In6() && bits >= 96 {
		want, bits = want.Unmap(), bits-96
	}
	p, err := want.Prefix(bits)
	return err == nil && p.Contains(of)
}

// hostAt reads the address of a struct inet_diag_hostcond.
func (f filter) hostAt(at int) (netip.Addr, bool) {
	b := f[at+sizeofHostcond:]
	switch family := f[at]; {
	case family == unix.AF_INET && len(b) >= 4:
		return netip.AddrFrom4([4]byte(b)), true
	case family == unix.AF_INET6 && len(b) >= 16:
		return netip.AddrFrom16([16]byte(b)), true
	}
	return netip.Addr{}, false
}
