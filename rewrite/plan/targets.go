package plan

import (
	"encoding/binary"

	"golang.org/x/arch/x86/x86asm"
)

// targets are the addresses near sites that may be targets of branches. Surplus ones do
// no harm.
type targets struct {
	wanted map[uint64]bool // false: near a site; true: a possible branch target
	low    uint64          // of all
	high   uint64
}

func newTargets(sites []stretch) *targets {
	t := &targets{wanted: make(map[uint64]bool), low: ^uint64(0)}
	for _, s := range sites {
		for _, i := range s.code[s.first() : s.last()+1] {
			t.wanted[i.addr] = false
			t.low, t.high = min(t.low, i.addr), max(t.high, i.addr)
		}
	}
	return t
}

// reach is how many instructions before a site matter for its window and its number.
const reach = 16

func (s stretch) first() int { return max(0, s.site-reach) }
func (s stretch) last() int  { return min(len(s.code)-1, s.site+5) }

func (t *targets) add(addr uint64) {
	if addr < t.low || addr > t.high {
		return
	}
	if _, ok := t.wanted[addr]; ok {
		t.wanted[addr] = true
	}
}

func (t *targets) has(addr uint64) bool { return t.wanted[addr] }

// find searches the whole file for possible branches to a site.
func (t *targets) find(im *image, sites []stretch) {
	if len(sites) == 0 {
		return
	}
	for _, s := range sites {
		t.inStretch(im, s)
	}
	for _, s := range im.text {
		t.inText(s)
	}
	for _, s := range im.rest {
		t.inData(s)
	}
	for _, a := range im.starts {
		t.add(a)
	}
}

// inStretch adds the targets of decoded branches and of jump tables.
func (t *targets) inStretch(im *image, s stretch) {
	indirect := s.indirect()
	for _, i := range s.code {
		if a, ok := i.rel(); ok {
			t.add(a)
		}
		if a, ok := i.ripTarget(); ok && i.Op == x86asm.LEA {
			t.add(a)
			if indirect {
				t.inTable(im, s, a)
			}
		}
	}
}

// indirect reports whether a stretch has a jump through a register or memory.
func (s stretch) indirect() bool {
	for _, i := range s.code {
		if i.Op == x86asm.JMP {
			if _, ok := i.rel(); !ok {
				return true
			}
		}
	}
	return false
}

// maxTable bounds a jump table, in entries.
const maxTable = 2048

// inTable adds the entries of a table of 32-bit distances relative to the table, as
// compilers emit for switch statements.
func (t *targets) inTable(im *image, s stretch, table uint64) {
	from := s.start
	if from == 0 {
		from = s.code[0].addr
	}
	for n := range uint64(maxTable) {
		w, ok := im.word(table + 4*n)
		to := table + uint64(int64(w))
		if !ok || to < from || to >= s.limit+maxFunction {
			return
		}
		t.add(to)
	}
}

// inText adds the target of every 32-bit displacement in the text that could be a branch
// or an address. It reads the whole text, because parts of a function may be far from
// each other.
func (t *targets) inText(s segment) {
	d := s.data
	for p := 0; p+6 <= len(d); p++ {
		at := p + 1
		switch b := d[p]; {
		case b == 0xe9, b == 0xe8:
		case b == 0x0f && d[p+1]&0xf0 == 0x80, b == 0x8d && d[p+1]&0xc7 == 0x05:
			at++
		default:
			continue
		}
		rel := int64(int32(binary.LittleEndian.Uint32(d[at:])))
		t.add(s.addr + uint64(int64(at)+4+rel))
	}
}

// inData adds every value in the data that could be an address, of an absolute jump table
// or a relocation.
func (t *targets) inData(s segment) {
	skip := int(-s.addr & 7)
	for p := skip; p+8 <= len(s.data); p += 8 {
		t.add(binary.LittleEndian.Uint64(s.data[p:]))
	}
}
