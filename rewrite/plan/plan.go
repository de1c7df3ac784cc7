package plan

import (
	"debug/elf"
	"errors"
	"fmt"
)

// Way is the method by which a site is rewritten.
type Way uint8

const (
	// Untouched sites have a constant number that is not wanted.
	Untouched Way = iota
	// Seven is the usual case of amd64: mov $number,%eax and syscall, seven bytes.
	Seven
	// Window is another window of whole instructions around the site.
	Window
	// Branch is used on arm64: one branch replaces the instruction.
	Branch
	// Impossible sites cannot be rewritten. Their calls go to the kernel unseen.
	Impossible
)

var wayNames = [...]string{"untouched", "seven bytes", "window", "branch", "impossible"}

func (w Way) String() string { return wayNames[w] }

// Unknown is the number of a site that is not a constant.
const Unknown = -1

// A Site is one system-call instruction.
type Site struct {
	Addr   uint64 // of the instruction in the file, before relocation
	Number int    // of the system call, or Unknown
	Way    Way
	Start  uint64 // the first byte that is replaced
	Len    int    // how many bytes are replaced
	Stub   int    // offset of its stub in Code
	Why    string // of Impossible: the reason
}

// Rewritten reports whether the site jumps to a stub.
func (s Site) Rewritten() bool {
	return s.Way == Seven || s.Way == Window ||
		s.Way == Branch
}

// A Segment is an executable part of the file.
type Segment struct {
	Offset, Size uint64 // in the file
	Addr         uint64 // where it is mapped, before relocation
}

// A Reloc is a place in Code that holds the distance to an address of the file.
type Reloc struct {
	Kind   RelocKind
	Offset int    // in Code, of the field
	End    int    // in Code: the distance counts from here
	Target uint64 // in the file
}

// RelocKind is the encoding of a distance.
type RelocKind uint32

const (
	// Rel32 is a signed 32-bit little-endian number of bytes.
	Rel32 RelocKind = iota
	// Branch26 is the low 26 bits of an arm64 instruction, in words.
	Branch26
)

// The head of Code: two addresses that the code which applies the plan fills in.
const (
	// the table: one byte for each of the numbers below 65,536, not 0 if the call is
	// wanted
	TableOffset = 0
	HookOffset  = 8  // the hook
	headSize    = 16 // then the stubs
)

// A Plan describes how the sites of one file are rewritten. It can be applied at any
// address.
type Plan struct {
	Machine  elf.Machine // EM_X86_64 or EM_AARCH64
	Segments []Segment
	Sites    []Site // by address
	Code     []byte // head and stubs
	Relocs   []Reloc
}

// ErrForeign means that a file is not an ELF file for a supported machine.
var ErrForeign = errors.New("not a 64-bit ELF file for amd64 or arm64")

// New makes the plan of a file. wanted reports whether calls with a constant number are
// to be taken.
func New(file []byte, wanted func(number int) bool) (*Plan, error) {
	im, err := parse(file)
	if err != nil {
		return nil, err
	}
	p := &Plan{Machine: im.machine, Code: make([]byte, headSize)}
	for _, s := range im.text {
		p.Segments = append(p.Segments, Segment{Offset: s.offset,
			Size: uint64(len(s.data)), Addr: s.addr})
	}
	switch im.machine {
	case elf.EM_X86_64:
		p.planAMD64(im, wanted)
	case elf.EM_AARCH64:
		p.planARM64(im, wanted)
	}
	if len(p.Code) > maxCode {
		return nil, fmt.Errorf("stubs of %d bytes: more than %d", len(p.Code), maxCode)
	}
	return p, nil
}

// maxCode bounds Code: arm64's branches reach 128 MiB.
const maxCode = 16 << 20

// Count returns the number of sites for each way.
func (p *Plan) Count() map[Way]int {
	n := make(map[Way]int)
	for _, s := range p.Sites {
		n[s.Way]++
	}
	return n
}
