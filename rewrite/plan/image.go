package plan

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
)

// A segment is the part of a PT_LOAD segment that is in the file.
type segment struct {
	addr, offset uint64
	data         []byte
}

// contains reports whether the segment contains the byte at an address.
func (s segment) contains(addr uint64) bool {
	return addr >= s.addr && addr-s.addr < uint64(len(s.data))
}

// An image holds what the package needs to know about a file.
type image struct {
	machine elf.Machine
	text    []segment // executable
	rest    []segment
	starts  []uint64 // known starts of functions, sorted; some may be missing
}

func parse(file []byte) (*image, error) {
	f, err := elf.NewFile(bytes.NewReader(file))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrForeign, err)
	}
	known := f.Machine == elf.EM_X86_64 || f.Machine == elf.EM_AARCH64
	if !known || f.Class != elf.ELFCLASS64 || f.Data != elf.ELFDATA2LSB {
		return nil, fmt.Errorf("%w: %v, %v", ErrForeign, f.Class, f.Machine)
	}
	im := &image{machine: f.Machine}
	for _, p := range f.Progs {
		end := p.Off + p.Filesz
		if end < p.Off || end > uint64(len(file)) || p.Vaddr+p.Filesz < p.Vaddr {
			if p.Type == elf.PT_LOAD {
				return nil, fmt.Errorf("segment at %#x is not in the file", p.Vaddr)
			}
			continue
		}
		s := segment{addr: p.Vaddr, offset: p.Off, data: file[p.Off:end]}
		switch {
		case p.Type == elf.PT_LOAD && p.Flags&elf.PF_X != 0:
			im.text = append(im.text, s)
		case p.Type == elf.PT_LOAD:
			im.rest = append(im.rest, s)
		case p.Type == elf.PT_GNU_EH_FRAME:
			im.starts = append(im.starts, unwindStarts(s)...)
		}
	}
	for _, read := range []func() ([]elf.Symbol, error){f.Symbols, f.DynamicSymbols} {
		symbols, _ := read() // a file may have none
		for _, s := range symbols {
			if elf.ST_TYPE(s.Info) == elf.STT_FUNC && s.Value != 0 {
				im.starts = append(im.starts, s.Value)
			}
		}
	}
	slices.Sort(im.starts)
	im.starts = slices.Compact(im.starts)
	return im, nil
}

// unwindStarts returns the starts of functions that .eh_frame_hdr lists (Linux Standard
// Base, "Exception Frames"). It reads only the usual encoding, a table of 32-bit
// distances.
func unwindStarts(hdr segment) []uint64 {
	const (
		udata4        = 0x03
		sdata4DataRel = 0x3b
	)
	d := hdr.data
	if len(d) < 12 || d[0] != 1 || d[2] != udata4 || d[3] != sdata4DataRel {
		return nil
	}
	n := int(binary.LittleEndian.Uint32(d[8:]))
	d = d[12:]
	n = min(n, len(d)/8)
	starts := make([]uint64, 0, n)
	for i := range n {
		starts = append(starts, hdr.addr+uint64(int64(int32(binary.LittleEndian.Uint32(d[8*i:])))))
	}
	return starts
}

// function returns bounds that contain one function or several: the last known start at
// or before an address, and the first one after it.
func (im *image) function(s segment, addr uint64) (start, end uint64, ok bool) {
	i := sort.Search(len(im.starts), func(i int) bool { return im.starts[i] > addr })
	end = s.addr + uint64(len(s.data))
	if i < len(im.starts) && im.starts[i] < end {
		end = im.starts[i]
	}
	if i == 0 || !s.contains(im.starts[i-1]) {
		return 0, 0, false
	}
	return im.starts[i-1], end, true
}

// word returns the 32-bit number at an address outside the text.
func (im *image) word(addr uint64) (int32, bool) {
	for _, s := range im.rest {
		if s.contains(addr) && addr-s.addr+4 <= uint64(len(s.data)) {
			return int32(binary.LittleEndian.Uint32(s.data[addr-s.addr:])), true
		}
	}
	return 0, false
}
