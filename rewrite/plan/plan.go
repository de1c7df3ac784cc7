package plan

import (
	"debug/elf"
	"errors"
	"fmt"
)

// Way is how a site is rewritten.
type Way uint8

const (
	// Untouched sites have a constant number that nobody wants.
	Untouched Way = iota
	// Seven is the usual case of amd64: mov $number,%eax and syscall, seven bytes.
	Seven
	// Window is another window of whole instructions around the site.
	Window
	// Branch is arm64's: one branch in place of the instruction.
	Branch
	// Impossible sites cannot be rewritten: their calls escape.
	Impossible
)

var wayNames = [...]string{"untouched", "seven bytes", "window", "branch", "impossible"}

func (w Way) String() string { return wayNames[w] }

// Unknown is the number of a site that is not a constant.
const Unknown = -1

// A Site is one system-call instruction.
type Site struct {
	Addr   uint64 // of the instruction, as the file has it: before it is relocated
	Number int    // of the system call, or Unknown
	Way    Way
	Start  uint64 // the first byte that is replaced
	Len    int    // how many bytes are replaced
	Stub   int    // offset of its stub in Code
	Why    string // of Impossible: what is in the way
}

// Rewritten reports whether the site jumps to a stub.
func (s Site) Rewritten() bool {
	return s.Way == Seven || s.Way == Window ||
		s.Way == Branch
}

// A Segment is a part of the file that is mapped executable.
type Segment struct {
	Offset, Size uint64 // in the file
	Addr         uint64 // where it is mapped, before relocation
}

// A Reloc is a place in Code that holds the distance to an address of the file.
type Reloc struct {
	Kind   RelocKind
	Offset int    // in Code, of the field
	End    int    // in Code: the distance counts from here
	Target uint64 // as the file has it
}

// RelocKind says how a distance is encoded.
type RelocKind uint32

const (
	// Rel32 is a signed 32-bit little-endian number of bytes.
	Rel32 RelocKind = iota
	// Branch26 is the low 26 bits of an arm64 instruction, in words.
	Branch26
)

// The head of Code: two addresses that whoever applies the plan fills in.
const (
	// the table: a byte for each of the 65,536 lowest numbers, not 0 if the call is
	// wanted
	TableOffset = 0
	HookOffset  = 8  // the hook
	headSize    = 16 // then the stubs
)

// A Plan says how the sites of one file are rewritten. It can be applied at any address.
type Plan struct {
	Machine  elf.Machine // EM_X86_64 or EM_AARCH64
	Segments []Segment
	Sites    []Site // by address
	Code     []byte // head and stubs
	Relocs   []Reloc
}

// ErrForeign means that a file is no ELF file of a machine that the package knows.
var ErrForeign = errors.New("no 64-bit ELF file for amd64 or arm64")

// New makes the plan of a file. wanted tells which constant numbers are to be taken.
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

// Count returns how many sites go each way.
func (p *Plan) Count() map[Way]int {
	n := make(map[Way]int)
	for _, s := range p.Sites {
		n[s.Way]++
	}
	return n
}
