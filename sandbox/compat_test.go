package sandbox

import (
	"encoding/binary"
	"testing"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// decide runs a program on a call, in the virtual machine of package bpf, and returns its
// action.
func decide(t *testing.T, p Program, arch, nr uint32, args ...uint64) uint32 {
	t.Helper()
	var raw []bpf.RawInstruction
	for _, i := range p {
		raw = append(raw, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	program, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("the program has unknown instructions")
	}
	// bpf returns how much of a packet to keep, cut to its length: the packet is longer
	// than any action.
	for i, in := range program {
		if r, ok := in.(bpf.RetConstant); ok {
			program[i] = bpf.RetConstant{Val: shorten(r.Val)}
		}
	}
	vm, err := bpf.NewVM(program)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, 1<<16)
	// Words of struct seccomp_data are native; those of a packet are big endian.
	binary.BigEndian.PutUint32(data, nr)
	binary.BigEndian.PutUint32(data[4:], arch)
	for i, a := range args {
		binary.BigEndian.PutUint32(data[16+8*i:], uint32(a))
		binary.BigEndian.PutUint32(data[20+8*i:], uint32(a>>32))
	}
	n, err := vm.Run(data)
	if err != nil {
		t.Fatal(err)
	}
	return uint32(n)
}

// shorten maps actions to numbers below 2^16: the upper half names the action.
func shorten(action uint32) uint32 {
	switch action &^ 0xffff {
	case unix.SECCOMP_RET_USER_NOTIF:
		return 1
	case unix.SECCOMP_RET_ERRNO:
		return 1000 + action&0xffff
	case unix.SECCOMP_RET_ALLOW:
		return 2
	}
	return 3
}

// TestCompat looks at what becomes of calls of each ABI.
func TestCompat(t *testing.T) {
	const trapped, allowed, enosys = 1, 2, 1000 + uint32(unix.ENOSYS)
	p, err := Policy{
		{Nr: unix.SYS_BIND},
		{Nr: unix.SYS_SENDTO, If: []Condition{NotNull(4)}},
		{Nr: 361, Compat: true},
		{Nr: 369, Compat: true, If: []Condition{NotNull(4), {Arg: 0, Op: AtLeast, Value: 768}}},
		{Nr: 369, Compat: true, If: []Condition{BitsEqual(0, ^uint32(63), 64)}},
		{Nr: 425, Compat: true, Errno: unix.ENOSYS},
		{Nr: 102, Compat: true, If: []Condition{IntEqual(0, 3)}},
	}.Compile()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name     string
		arch, nr uint32
		args     []uint64
		want     uint32
	}{
		{"native", nativeArch, unix.SYS_BIND, nil, trapped},
		{"native with NULL", nativeArch, unix.SYS_SENDTO, nil, allowed},
		{"native with an address", nativeArch, unix.SYS_SENDTO,
			[]uint64{0, 0, 0, 0, 1 << 32}, trapped},
		{"number of the other ABI", nativeArch, 361, nil, allowed},
		{"32-bit", compatArch, 361, nil, trapped},
		{"32-bit, native number", compatArch, unix.SYS_BIND, nil, allowed},
		{"32-bit, one condition of two", compatArch, 369, []uint64{1, 0, 0, 0, 5},
			allowed},
		{"32-bit, the other condition", compatArch, 369, []uint64{768, 0, 0, 0, 0},
			allowed},
		{"32-bit, both conditions", compatArch, 369, []uint64{768, 0, 0, 0, 5}, trapped},
		{"32-bit, second rule", compatArch, 369, []uint64{127}, trapped},
		{"32-bit, errno", compatArch, 425, nil, enosys},
		{"32-bit, socketcall", compatArch, 102, []uint64{3}, trapped},
		{"32-bit, socketcall of another", compatArch, 102, []uint64{4}, allowed},
		{"unknown ABI", 0x12345, 49, nil, allowed},
	} {
		if got := decide(t, p, tc.arch, tc.nr, tc.args...); got != tc.want {
			t.Errorf("%s: action %d, want %d", tc.name, got, tc.want)
		}
	}
	if foreignBit != 0 {
		if got := decide(t, p, nativeArch, foreignBit|41); got != enosys {
			t.Errorf("x32: action %d, want %d", got, enosys)
		}
	}
}
