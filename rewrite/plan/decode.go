package plan

import (
	"bytes"
	"slices"

	"golang.org/x/arch/x86/x86asm"
)

// An ins is a decoded instruction of amd64.
type ins struct {
	addr uint64
	x86asm.Inst
	raw []byte
}

func (i ins) end() uint64 { return i.addr + uint64(len(i.raw)) }

// A stretch is a run of decoded instructions around a candidate.
type stretch struct {
	code  []ins
	site  int    // index of the candidate
	start uint64 // start of the function; 0 if it is not known
	limit uint64 // end of the function, or of the decoded bytes
}

const (
	// maxFunction bounds how far the package decodes from the start of a function to a
	// candidate, in bytes. If the distance is larger, the package looks for a nearer
	// start.
	maxFunction = 16 << 10
	// behind is how far the package decodes after a candidate.
	behind = 512
	// before is how far before a candidate the package begins to decode if it knows no
	// start.
	before = 160
	// nearby is how many instructions before a candidate the package compares. short is
	// how far back these may reach.
	nearby, short = 6, 72
	// beginnings is the number of places from which the package then decodes. agreement
	// is how many of these must reach the candidate.
	beginnings, agreement = 16, 11
)

// decode decodes from start until an address that is at least end. It fails if it meets
// bytes that are no instruction before it has reached the candidate.
func decode(s segment, start, end uint64) []ins {
	code := make([]ins, 0, (end-start)/3)
	for a := start; a < end && s.contains(a); {
		rest := s.data[a-s.addr:]
		x, err := x86asm.Decode(rest, 64)
		if err != nil || x.Len == 0 {
			return code
		}
		code = append(code, ins{addr: a, Inst: x, raw: rest[:x.Len:x.Len]})
		a += uint64(x.Len)
	}
	return code
}

// around decodes around a candidate. ok is false if the bytes are part of another
// instruction. A site that stays unchanged needs no second check.
func (im *image) around(s segment, candidate uint64, wanted func(int) bool) (st stretch,
	ok bool) {
	start, end, known := im.function(s, candidate)
	if !known || candidate-start >= maxFunction {
		return vote(s, candidate)
	}
	code := decode(s, start, candidate+2)
	st = stretch{code: code, site: indexOf(code, candidate), start: start, limit: end}
	if st.site < 0 {
		return vote(s, candidate)
	}
	if n := number(st, &targets{}); n != Unknown && !wanted(n) {
		return st, true
	}
	if !confirmed(s, code[max(0, st.site-nearby):st.site], candidate) {
		return vote(s, candidate)
	}
	st.code = append(code, decode(s, candidate+2, min(end, candidate+behind))...)
	return st, true
}

// confirmed reports whether decoding from another place yields the same instructions
// before a candidate. A listed start may be wrong: .eh_frame of C libraries has one that
// lies a byte before the code that returns from signal handlers.
func confirmed(s segment, code []ins, candidate uint64) bool {
	const from = 5
	want, agree := boundaries(code), 0
	for k := range uint64(from) {
		if candidate-s.addr <= short+k {
			return agree == int(k)
		}
		other := decodePast(s, candidate-short-k, candidate)
		if i := indexOf(other, candidate); i >= len(code) &&
			boundaries(other[i-len(code):i]) == want {
			agree++
		}
	}
	return agree >= from-1
}

// vote decodes from several places before a candidate.
func vote(s segment, candidate uint64) (stretch, bool) {
	votes := make(map[string]int)
	chains := make(map[string][]ins)
	total := 0
	for k := range uint64(beginnings) {
		from := s.addr
		if candidate-s.addr > before+k {
			from = candidate - before - k
		} else if k > candidate-s.addr {
			break
		} else {
			from += k
		}
		code := decodePast(s, from, candidate)
		i := indexOf(code, candidate)
		if i < 0 {
			continue
		}
		total++
		key := boundaries(code[max(0, i-nearby):i])
		votes[key]++
		if len(chains[key]) < len(code) {
			chains[key] = code
		}
	}
	if total < agreement {
		return stretch{}, false
	}
	best := ""
	for key, n := range votes {
		if n > votes[best] || n == votes[best] && key < best {
			best = key
		}
	}
	if votes[best] < agreement {
		return stretch{}, false
	}
	code := append(chains[best], decode(s, candidate+2, candidate+behind)...)
	return stretch{code: code, site: indexOf(code, candidate), limit: candidate + behind}, true
}

// decodePast decodes to a candidate and skips bytes that are no instructions, such as
// padding and data.
func decodePast(s segment, from, candidate uint64) []ins {
	var code []ins
	for from <= candidate {
		code = append(code, decode(s, from, candidate+1)...)
		if len(code) > 0 && code[len(code)-1].addr >= from {
			from = code[len(code)-1].end()
		}
		if from <= candidate {
			from++
		}
	}
	return code
}

func boundaries(code []ins) string {
	var b bytes.Buffer
	for _, i := range code {
		b.WriteByte(byte(len(i.raw)))
	}
	return b.String()
}

func indexOf(code []ins, addr uint64) int {
	i, ok := slices.BinarySearchFunc(code, addr, func(i ins, a uint64) int {
		switch {
		case i.addr < a:
			return -1
		case i.addr > a:
			return 1
		}
		return 0
	})
	if !ok {
		return -1
	}
	return i
}

// rel returns the target of a branch.
func (i ins) rel() (uint64, bool) {
	for _, a := range i.Args {
		if r, ok := a.(x86asm.Rel); ok {
			return i.end() + uint64(int64(r)), true
		}
	}
	return 0, false
}

// ripTarget returns the address of an operand that is relative to the instruction
// pointer.
func (i ins) ripTarget() (uint64, bool) {
	for _, a := range i.Args {
		if m, ok := a.(x86asm.Mem); ok && m.Base == x86asm.RIP {
			return i.end() + uint64(m.Disp), true
		}
	}
	return 0, false
}

// endbr64 marks a possible target of indirect branches.
var endbr64 = []byte{0xf3, 0x0f, 0x1e, 0xfa}

// movable reports whether an instruction has the same effect at another address after the
// operand relative to the instruction pointer has been corrected.
func (i ins) movable() bool {
	if bytes.Equal(i.raw, endbr64) {
		return false
	}
	switch i.Op {
	case x86asm.CALL, x86asm.LCALL, x86asm.JMP, x86asm.LJMP, x86asm.RET, x86asm.LRET,
		x86asm.SYSCALL, x86asm.SYSENTER,
		x86asm.SYSRET, x86asm.SYSEXIT, x86asm.INT, x86asm.INTO, x86asm.IRET, x86asm.IRETD,
		x86asm.IRETQ, x86asm.HLT,
		x86asm.UD0, x86asm.UD1, x86asm.UD2, x86asm.XBEGIN, x86asm.XEND, x86asm.XABORT:
		return false
	}
	if _, ok := i.rel(); ok {
		return false
	}
	_, rip := i.ripTarget()
	return rip == (i.PCRel == 4) && (i.PCRel == 0 || i.PCRel == 4)
}
