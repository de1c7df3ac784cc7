package plan

import (
	"bytes"
	"encoding/binary"

	"golang.org/x/arch/x86/x86asm"
)

var syscallBytes = []byte{0x0f, 0x05}

// jumpLen is the length of a jump with a 32-bit displacement.
const jumpLen = 5

func (p *Plan) planAMD64(im *image, wanted func(int) bool) {
	var sites []stretch
	for _, s := range im.text {
		for at := 0; ; at++ {
			i := bytes.Index(s.data[at:], syscallBytes)
			if i < 0 {
				break
			}
			at += i
			if st, ok := im.around(s, s.addr+uint64(at), wanted); ok {
				sites = append(sites, st)
			}
		}
	}
	t := newTargets(sites)
	t.find(im, sites)
	end := uint64(0) // of the previous window
	for _, st := range sites {
		site := p.siteAMD64(st, t, wanted, end)
		if site.Rewritten() {
			end = site.Start + uint64(site.Len)
		}
		p.Sites = append(p.Sites, site)
	}
}

// siteAMD64 decides how one site is rewritten. Bytes below free belong to the previous
// window.
func (p *Plan) siteAMD64(st stretch, t *targets, wanted func(int) bool,
	free uint64) Site {
	x := st.code[st.site]
	site := Site{Addr: x.addr, Number: number(st, t)}
	if site.Number != Unknown && !wanted(site.Number) {
		return site
	}
	first, last, ok := window(st, t, free)
	if !ok {
		site.Way, site.Why = Impossible,
			"no five bytes of whole instructions without a branch into them"
		return site
	}
	site.Way, site.Start = Window, st.code[first].addr
	site.Len = int(st.code[last].end() - site.Start)
	if first == st.site-1 && last == st.site && movesNumber(st.code[first]) {
		site.Way = Seven
	}
	site.Stub = p.stubAMD64(st, first, last, site.Number != Unknown)
	return site
}

// window finds the instructions to replace, those before the site first.
func window(st stretch, t *targets, free uint64) (first, last int, ok bool) {
	for after := 0; after <= 4; after++ {
		last := st.site + after
		if last >= len(st.code) || after > 0 &&
			(!st.code[last].movable() || t.has(st.code[last].addr)) {
			return 0, 0, false
		}
		for first := st.site; ; first-- {
			if st.code[last].end()-st.code[first].addr >= jumpLen &&
				st.whole(first, last) {
				return first, last, true
			}
			// A branch to the first instruction of a window does no harm.
			if first == 0 || t.has(st.code[first].addr) || !st.code[first-1].movable() ||
				st.code[first-1].addr < free ||
				st.code[first-1].end() != st.code[first].addr || st.site-first > 6 {
				break
			}
		}
	}
	return 0, 0, false
}

// whole reports whether the instructions from first to last are adjacent.
func (s stretch) whole(first, last int) bool {
	for i := first; i < last; i++ {
		if s.code[i].end() != s.code[i+1].addr {
			return false
		}
	}
	return true
}

// movesNumber reports whether an instruction is mov $number,%eax.
func movesNumber(i ins) bool { return len(i.raw) == 5 && i.raw[0] == 0xb8 }

// number returns the number of the call at a site if it is the same constant on every
// path to the site.
func number(st stretch, t *targets) int {
	for k := st.site; k > st.first(); k-- {
		if t.has(st.code[k].addr) || st.code[k-1].end() != st.code[k].addr {
			return Unknown // a branch leads here, perhaps with another number
		}
		i := st.code[k-1]
		switch nr, what := ofNumber(i); what {
		case sets:
			return nr
		case changes:
			return Unknown
		}
	}
	return Unknown
}

type effect uint8

const (
	leaves  effect = iota // %rax keeps its value
	sets                  // to a constant
	changes               // to something else
)

// ofNumber returns what an instruction does to %rax. It assumes that an unknown
// instruction changes %rax.
func ofNumber(i ins) (int, effect) {
	to, isReg := i.Args[0].(x86asm.Reg)
	toNumber := isReg && (to == x86asm.RAX || to == x86asm.EAX || to == x86asm.AX ||
		to == x86asm.AL || to == x86asm.AH)
	switch i.Op {
	case x86asm.MOV:
		if v, ok := i.Args[1].(x86asm.Imm); ok && (to == x86asm.RAX || to == x86asm.EAX) {
			return int(int32(v)), sets
		}
	case x86asm.XOR:
		if toNumber && i.Args[1] == i.Args[0] && (to == x86asm.EAX || to == x86asm.RAX) {
			return 0, sets
		}
	case x86asm.LEA, x86asm.ADD, x86asm.SUB, x86asm.AND, x86asm.OR, x86asm.SHL,
		x86asm.SHR, x86asm.SAR,
		x86asm.MOVSXD, x86asm.MOVSX, x86asm.MOVZX, x86asm.INC, x86asm.DEC, x86asm.NEG,
		x86asm.NOT, x86asm.POP:
	case x86asm.CMP, x86asm.TEST, x86asm.BT, x86asm.PUSH, x86asm.NOP, x86asm.JA,
		x86asm.JAE, x86asm.JB, x86asm.JBE,
		x86asm.JE, x86asm.JG, x86asm.JGE, x86asm.JL, x86asm.JLE, x86asm.JNE, x86asm.JNO,
		x86asm.JNP, x86asm.JNS,
		x86asm.JO, x86asm.JP, x86asm.JS, x86asm.MOVAPS, x86asm.MOVUPS, x86asm.MOVDQA,
		x86asm.MOVDQU:
		return 0, leaves
	default:
		return 0, changes
	}
	if toNumber {
		return 0, changes
	}
	return 0, leaves
}

// stubAMD64 appends a stub and returns its offset. The kernel preserves all flags and all
// registers except rax, rcx and r11. The stub does the same up to the hook.
func (p *Plan) stubAMD64(st stretch, first, last int, constant bool) int {
	at := len(p.Code)
	for _, i := range st.code[first:st.site] {
		p.moveAMD64(i)
	}
	if !constant {
		p.emit(0x0f, 0xb7, 0xc8)                      // movzwl %ax,%ecx
		p.emit(0x4c, 0x8b, 0x1d).emitRel(TableOffset) // mov table(%rip),%r11
		// movzbl (%r11,%rcx),%ecx; jrcxz pass
		p.emit(0x41, 0x0f, 0xb6, 0x0c, 0x0b, 0xe3, 7+6)
	}
	p.emit(0x4c, 0x8d, 0x1d) // lea pass(%rip),%r11
	pass := len(p.Code) + 4 + 6
	p.emitRel(pass)
	p.emit(0xff, 0x25).emitRel(HookOffset) // jmp *hook(%rip)
	p.emit(syscallBytes...)                // pass: syscall; the hook returns behind it
	for _, i := range st.code[st.site+1 : last+1] {
		p.moveAMD64(i)
	}
	p.emit(0xe9, 0, 0, 0, 0) // jmp back
	p.Relocs = append(p.Relocs, Reloc{Kind: Rel32, Offset: len(p.Code) - 4,
		End: len(p.Code), Target: st.code[last].end()})
	return at
}

// moveAMD64 appends an instruction of the file, with its relative operand corrected.
func (p *Plan) moveAMD64(i ins) {
	at := len(p.Code)
	p.emit(i.raw...)
	if target, ok := i.ripTarget(); ok {
		p.Relocs = append(p.Relocs, Reloc{Kind: Rel32, Offset: at + i.PCRelOff,
			End: len(p.Code), Target: target})
	}
}

func (p *Plan) emit(b ...byte) *Plan {
	p.Code = append(p.Code, b...)
	return p
}

// emitRel appends the distance to an offset in Code, counted from the end of the distance
// field.
func (p *Plan) emitRel(to int) {
	p.Code = binary.LittleEndian.AppendUint32(p.Code, uint32(to-len(p.Code)-4))
}
