package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	seccomp "github.com/seccomp/libseccomp-golang"
	"golang.org/x/sys/unix"
)

// A Condition compares one argument of a call with a value, as the register holds it. The
// filter cannot follow pointers, but it can compare one with NULL.
type Condition struct {
	Arg   uint   // 0 to 5
	Op    Op     // how Value is compared
	Mask  uint64 // for MaskedEqual: the bits that count
	Value uint64
}

// Op is a comparison of a [Condition].
type Op uint8

const (
	// NotEqual compares all 64 bits, as is needed for pointers.
	NotEqual Op = iota
	// AtLeast compares all 64 bits, unsigned: -1 is the largest number.
	AtLeast
	// MaskedEqual compares the bits of Mask. An int argument fills 32 bits of
	// its register, and the rest may hold anything.
	MaskedEqual
)

// IntEqual is true if the argument, a C int, has the value v.
func IntEqual(arg uint, v uint32) Condition {
	return Condition{Arg: arg, Op: MaskedEqual, Mask: 0xffffffff, Value: uint64(v)}
}

// BitsEqual is true if the bits of mask in the argument, a C int, are v.
func BitsEqual(arg uint, mask, v uint32) Condition {
	return Condition{Arg: arg, Op: MaskedEqual, Mask: uint64(mask), Value: uint64(v)}
}

// NotNull is true if the argument, a pointer, is not NULL.
func NotNull(arg uint) Condition { return Condition{Arg: arg, Op: NotEqual} }

// A Rule says what happens to calls of one number. It matches a call if all its
// conditions hold. If a number has several rules, one match is enough.
type Rule struct {
	Nr     uintptr     // the system call's number
	Compat bool        // Nr is of the host's 32-bit ABI: i386 on amd64
	If     []Condition // none: always
	Errno  unix.Errno  // if not 0, the call fails with it and is not trapped
}

// A Policy lists the calls that the filter does not simply pass to the kernel.
type Policy []Rule

// A Program is a compiled Policy: classic BPF for seccomp(2).
type Program []unix.SockFilter

// Compile translates the policy for the native architecture and its 32-bit ABI.
// Calls of the third ABI, x32 on amd64, fail with ENOSYS.
func (p Policy) Compile() (Program, error) {
	filter, err := seccomp.NewFilter(seccomp.ActAllow)
	if err != nil {
		return nil, fmt.Errorf("new filter: %w", err)
	}
	defer filter.Release()
	if err := filter.SetBadArchAction(seccomp.ActAllow); err != nil {
		return nil, fmt.Errorf("allow other ABIs: %w", err)
	}
	var compat []Rule
	for _, r := range p {
		if r.Compat {
			compat = append(compat, r)
			continue
		}
		if err := r.add(filter); err != nil {
			return nil, fmt.Errorf("rule for system call %d: %w", r.Nr, err)
		}
	}
	native, err := export(filter)
	if err != nil {
		return nil, err
	}
	return withCompat(native, compat), nil
}

func (r Rule) add(filter *seccomp.ScmpFilter) error {
	action := seccomp.ActNotify
	if r.Errno != 0 {
		action = seccomp.ActErrno.SetReturnCode(int16(r.Errno))
	}
	nr := seccomp.ScmpSyscall(r.Nr)
	if len(r.If) == 0 {
		return filter.AddRuleExact(nr, action)
	}
	conds := make([]seccomp.ScmpCondition, 0, len(r.If))
	for _, c := range r.If {
		var cond seccomp.ScmpCondition
		var err error
		switch c.Op {
		case NotEqual:
			cond, err = seccomp.MakeCondition(c.Arg, seccomp.CompareNotEqual, c.Value)
		case AtLeast:
			cond, err = seccomp.MakeCondition(c.Arg, seccomp.CompareGreaterEqual, c.Value)
		case MaskedEqual:
			cond, err = seccomp.MakeCondition(c.Arg, seccomp.CompareMaskedEqual, c.Mask, c.Value)
		default:
			err = fmt.Errorf("unknown comparison %d", c.Op)
		}
		if err != nil {
			return err
		}
		conds = append(conds, cond)
	}
	return filter.AddRuleConditionalExact(nr, action, conds)
}

// export fetches the BPF program from libseccomp, which can only write it to a file (up
// to version 2.5, Debian 12). libseccomp's Load cannot be used here, because it would
// install the filter on every thread of this process.
func export(filter *seccomp.ScmpFilter) (Program, error) {
	fd, err := unix.MemfdCreate("boxer-filter", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	f := os.NewFile(uintptr(fd), "boxer-filter")
	defer f.Close()
	if err := filter.ExportBPF(f); err != nil {
		return nil, fmt.Errorf("export filter: %w", err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("export filter: %w", err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("export filter: %w", err)
	}
	return ParseProgram(b)
}

// sockFilterSize is the size of struct sock_filter in bytes (linux/filter.h).
const sockFilterSize = 8

// maxInstructions is BPF_MAXINSNS of linux/bpf_common.h.
const maxInstructions = 4096

// ParseProgram decodes an array of struct sock_filter in native byte order.
func ParseProgram(b []byte) (Program, error) {
	switch {
	case len(b) == 0 || len(b)%sockFilterSize != 0:
		return nil, errors.New("filter program: length is not a multiple of 8 bytes")
	case len(b)/sockFilterSize > maxInstructions:
		return nil, fmt.Errorf("filter program: more than %d instructions",
			maxInstructions)
	}
	p := make(Program, 0, len(b)/sockFilterSize)
	for ; len(b) > 0; b = b[sockFilterSize:] {
		p = append(p, unix.SockFilter{
			Code: binary.NativeEndian.Uint16(b),
			Jt:   b[2],
			Jf:   b[3],
			K:    binary.NativeEndian.Uint32(b[4:]),
		})
	}
	return p, nil
}

// Bytes encodes the program in the format that ParseProgram reads.
func (p Program) Bytes() []byte {
	b := make([]byte, 0, len(p)*sockFilterSize)
	for _, i := range p {
		b = binary.NativeEndian.AppendUint16(b, i.Code)
		b = append(b, i.Jt, i.Jf)
		b = binary.NativeEndian.AppendUint32(b, i.K)
	}
	return b
}
