package sandbox

import "golang.org/x/sys/unix"

// Classic BPF as seccomp(2) takes it: loads of 32 bits from struct seccomp_data,
// jumps that compare with a constant, and returns.
const (
	opLoad    = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	opAnd     = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	opEqual   = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	opAtLeast = unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K
	opJump    = unix.BPF_JMP | unix.BPF_JA
	opReturn  = unix.BPF_RET | unix.BPF_K
)

// Offsets into struct seccomp_data of linux/seccomp.h, little endian.
const (
	offsetNr   = 0
	offsetArch = 4
	offsetArgs = 16
)

// withCompat puts the rules for calls of the host's 32-bit ABI before a program for
// native calls. There are few such rules, so the filter tries them one after the other.
// libseccomp cannot compile them, because it supports i386's socketcall(2) only without
// conditions.
func withCompat(native Program, rules []Rule) Program {
	var compat Program
	for _, r := range rules {
		compat = append(compat, r.assemble()...)
	}
	compat = append(compat, stmt(opReturn, unix.SECCOMP_RET_ALLOW))
	p := Program{
		stmt(opLoad, offsetArch),
		jump(opEqual, compatArch, 1, 0),
		stmt(opJump, uint32(len(compat))),
	}
	p = append(p, compat...)
	if foreignBit != 0 {
		p = append(p, jump(opEqual, nativeArch, 0, 3), stmt(opLoad, offsetNr),
			jump(opAtLeast, foreignBit, 0, 1),
			stmt(opReturn, unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS)))
	}
	return append(p, native...)
}

// assemble compiles one rule. Calls that the rule does not match jump past its end.
func (r Rule) assemble() Program {
	action := uint32(unix.SECCOMP_RET_USER_NOTIF)
	if r.Errno != 0 {
		action = unix.SECCOMP_RET_ERRNO | uint32(r.Errno)
	}
	p := Program{stmt(opLoad, offsetNr), jump(opEqual, uint32(r.Nr), 0, 0)}
	tests := []int{1} // the tests, each a jump to past if it is false
	for _, c := range r.If {
		p = append(p, stmt(opLoad, offsetArgs+8*uint32(c.Arg)))
		switch c.Op {
		case NotEqual:
			// If true, go on to the next instruction; if false, jump to the end. A jump
			// instruction inverts the test.
			p = append(p, jump(opEqual, uint32(c.Value), 0, 1), stmt(opJump, 0))
		case AtLeast:
			p = append(p, jump(opAtLeast, uint32(c.Value), 0, 0))
		case MaskedEqual:
			p = append(p, stmt(opAnd, uint32(c.Mask)),
				jump(opEqual, uint32(c.Value), 0, 0))
		}
		tests = append(tests, len(p)-1)
	}
	p = append(p, stmt(opReturn, action))
	for _, i := range tests {
		past := len(p) - i - 1
		if p[i].Code == opJump {
			p[i].K = uint32(past)
		} else {
			p[i].Jf = uint8(past) // six arguments are far below 255
		}
	}
	return p
}

func stmt(code uint16, k uint32) unix.SockFilter { return unix.SockFilter{Code: code, K: k} }

func jump(code uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: code, K: k, Jt: yes, Jf: no}
}

// Compat reports whether the call came through the host's 32-bit ABI, which has other
// numbers and other structures in memory.
func (n *Notif) Compat() bool { return n.raw.Arch == compatArch }
