package plan

import (
	"encoding/binary"
	"fmt"
)

// Instructions of arm64, and their fields.
const (
	svc0 = 0xd4000001 // svc #0

	// movz w8, #imm or x8, #imm, without the shift
	movzMask, movz = 0x7f80001f, 0x52800008
	branchOp       = 0x14000000 // b
)

// planARM64 takes each svc #0. The text consists of aligned words. Data in the text is
// unlikely to equal the instruction, because literals are 64-bit addresses or small
// numbers.
func (p *Plan) planARM64(im *image, wanted func(int) bool) {
	for _, s := range im.text {
		skip := int(-s.addr & 3)
		for at := skip; at+4 <= len(s.data); at += 4 {
			if binary.LittleEndian.Uint32(s.data[at:]) != svc0 {
				continue
			}
			p.Sites = append(p.Sites, p.siteARM64(s, at, wanted))
		}
	}
}

func (p *Plan) siteARM64(s segment, at int, wanted func(int) bool) Site {
	addr := s.addr + uint64(at)
	site := Site{Addr: addr, Number: numberARM64(s.data[:at])}
	if site.Number != Unknown && !wanted(site.Number) {
		return site
	}
	site.Way, site.Start, site.Len = Branch, addr, 4
	site.Stub = p.stubARM64(addr + 4)
	return site
}

// numberARM64 returns the constant that the instruction directly before a site loads into
// x8. It does not search farther back: a branch may lead in between, and the stub's check
// costs only 2 ns.
func numberARM64(code []byte) int {
	if len(code) < 4 {
		return Unknown
	}
	w := binary.LittleEndian.Uint32(code[len(code)-4:])
	if w&movzMask != movz {
		return Unknown
	}
	if w>>21&3 != 0 { // shifted
		return Unknown
	}
	return int(w >> 5 & 0xffff)
}

// stubARM64 appends a stub for a site that continues at back. The kernel preserves all
// registers except x0. The stub saves x16 and x17 32 bytes below the stack pointer,
// because Go uses the word just below it. There is no red zone (AAPCS64).
func (p *Plan) stubARM64(back uint64) int {
	at := len(p.Code)
	p.words(
		0xd10083ff, // sub sp, sp, #32
		0xa90047f0, // stp x16, x17, [sp]
	)
	p.literal(0x58000010, TableOffset) // ldr x16, table
	p.words(
		0x53003d11, // uxth w17, w8
		0x38716a11, // ldrb w17, [x16, x17]
		0x34000091, // cbz w17, pass
		0x10000071, // adr x17, pass
	)
	p.literal(0x58000010, HookOffset) // ldr x16, hook
	p.words(
		0xd61f0200, // br x16
		// pass: the hook returns here to let the kernel execute the call.
		0xa94047f0, // ldp x16, x17, [sp]
		0x910083ff, // add sp, sp, #32
		svc0,
	)
	p.branchARM64(back)
	p.words( // The hook returns here, 16 bytes after pass, with a result.
		0xa94047f0, // ldp x16, x17, [sp]
		0x910083ff, // add sp, sp, #32
	)
	p.branchARM64(back)
	return at
}

func (p *Plan) branchARM64(to uint64) {
	p.words(branchOp)
	at := len(p.Code) - 4
	p.Relocs = append(p.Relocs, Reloc{Kind: Branch26, Offset: at, End: at, Target: to})
}

func (p *Plan) words(ws ...uint32) {
	for _, w := range ws {
		p.Code = binary.LittleEndian.AppendUint32(p.Code, w)
	}
}

// literal appends a load of the 64-bit word at an offset of Code. A load reaches 1 MiB;
// beyond that the head would have to be repeated.
func (p *Plan) literal(op uint32, offset int) {
	distance := offset - len(p.Code)
	if distance < -1<<20 {
		panic(fmt.Sprintf("plan: stub at %d is too far from the head", len(p.Code)))
	}
	p.words(op | uint32(distance>>2)&0x7ffff<<5)
}
