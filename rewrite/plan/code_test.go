package plan

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"testing"
)

// program makes an ELF file whose only segment is code, at an address.
func program(m elf.Machine, addr uint64, code []byte) []byte {
	const headers = 64 + 56
	var b bytes.Buffer
	h := elf.Header64{Type: uint16(elf.ET_EXEC), Machine: uint16(m), Version: 1,
		Entry: addr, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1}
	copy(h.Ident[:], "\x7fELF\x02\x01\x01")
	p := elf.Prog64{Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Off: headers, Vaddr: addr, Filesz: uint64(len(code)), Memsz: uint64(len(code)),
		Align: 1}
	for _, v := range []any{h, p} {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return append(b.Bytes(), code...)
}

// nops are before and after the code of a test, as in a function.
func padded(code ...byte) []byte {
	pad := bytes.Repeat([]byte{0x90}, 256)
	return append(append(append([]byte{}, pad...), code...), pad...)
}

func TestWays(t *testing.T) {
	const base, at = 0x400000, 0x400000 + 256
	for _, test := range []struct {
		name   string
		code   []byte
		number int
		way    Way
		start  uint64
		length int
	}{
		{"constant, not wanted", []byte{0xb8, 1, 0, 0, 0, 0x0f, 0x05}, 1, Untouched, 0, 0},
		{"seven bytes", []byte{0xb8, 42, 0, 0, 0, 0x0f, 0x05}, 42, Seven, at, 7},
		{"an instruction in between", []byte{0xb8, 44, 0, 0, 0, 0x4c, 0x8b, 0x45, 0xa8,
			0x0f, 0x05}, 44, Window, at + 5, 6},
		{"Go's Syscall6", []byte{0x48, 0x89, 0xdf, 0x0f, 0x05}, Unknown, Window, at, 5},
		// The pattern of seven bytes, but its first byte is part of a movl: gVisor issue
		// 10849.
		{"number in a memory operand", []byte{0xb8, 42, 0, 0, 0, 0xc7, 0x44, 0x24, 0xb8,
			1, 0, 0, 0, 0x0f, 0x05}, 42, Window, at + 5, 10},
		// jmp over the mov: the number is not a constant, and the mov cannot be in the
		// window.
		{"branch to the site", []byte{0xeb, 5, 0xb8, 42, 0, 0, 0, 0x0f, 0x05, 0x48, 0x3d,
			1, 0xf0, 0xff, 0xff}, Unknown, Window, at + 7, 8},
		{"syscall in an immediate", []byte{0xb8, 0x0f, 0x05, 0, 0, 0xc3}, -2, 0, 0, 0},
		// A branch to the site, and one behind it.
		{"no window", []byte{0xeb, 4, 0xeb, 4, 0xeb, 0, 0x0f, 0x05, 0xc3}, Unknown,
			Impossible, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, err := New(program(elf.EM_X86_64, base, padded(test.code...)), wantedAMD64)
			if err != nil {
				t.Fatal(err)
			}
			if test.number == -2 {
				if len(p.Sites) != 0 {
					t.Errorf("sites %+v, want none", p.Sites)
				}
				return
			}
			if len(p.Sites) != 1 {
				t.Fatalf("%d sites", len(p.Sites))
			}
			s := p.Sites[0]
			if s.Number != test.number || s.Way != test.way || s.Start != test.start ||
				s.Len != test.length {
				t.Errorf("number %d, %v, %#x, %d bytes; want %d, %v, %#x, %d", s.Number,
					s.Way, s.Start, s.Len,
					test.number, test.way, test.start, test.length)
			}
		})
	}
}

// TestMovedOperand checks that an operand relative to the instruction pointer keeps its
// target.
func TestMovedOperand(t *testing.T) {
	const base, at = 0x400000, 0x400000 + 256
	// mov 16(%rip),%rdi; syscall
	code := padded(0x48, 0x8b, 0x3d, 0x10, 0, 0, 0, 0x0f, 0x05)
	p, err := New(program(elf.EM_X86_64, base, code), wantedAMD64)
	if err != nil {
		t.Fatal(err)
	}
	want := Reloc{Kind: Rel32, Offset: headSize + 3, End: headSize + 7,
		Target: at + 7 + 16}
	if len(p.Relocs) != 2 || p.Relocs[0] != want {
		t.Errorf("relocations %+v, want first %+v", p.Relocs, want)
	}
	if back := p.Relocs[1]; back.Target != at+9 {
		t.Errorf("the stub goes back to %#x", back.Target)
	}
}

func TestARM64(t *testing.T) {
	code := binary.LittleEndian.AppendUint32(nil, 0xd2801968) // mov x8, #203
	code = binary.LittleEndian.AppendUint32(code, svc0)
	code = binary.LittleEndian.AppendUint32(code, 0xd2800808) // mov x8, #64
	code = binary.LittleEndian.AppendUint32(code, svc0)
	code = binary.LittleEndian.AppendUint32(code, 0xaa0003e8) // mov x8, x0
	code = binary.LittleEndian.AppendUint32(code, svc0)
	p, err := New(program(elf.EM_AARCH64, 0x400000, code), wantedARM64)
	if err != nil {
		t.Fatal(err)
	}
	want := []struct {
		number int
		way    Way
	}{{203, Branch}, {64, Untouched}, {Unknown, Branch}}
	for i, s := range p.Sites {
		if s.Number != want[i].number || s.Way != want[i].way {
			t.Errorf("site %d: %+v, want %+v", i, s, want[i])
		}
	}
	if len(p.Sites) != 3 {
		t.Errorf("%d sites", len(p.Sites))
	}
}

// FuzzNew gives New files that somebody else made.
func FuzzNew(f *testing.F) {
	f.Add(program(elf.EM_X86_64, 0x400000, padded(0xb8, 42, 0, 0, 0, 0x0f, 0x05)))
	f.Add(program(elf.EM_X86_64, 0x400000, []byte{0x0f, 0x05}))
	f.Add(program(elf.EM_AARCH64, 0x400000, padded(1, 0, 0, 0xd4)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := New(b, wantedAMD64)
		if err != nil {
			return
		}
		for i, s := range p.Sites {
			if s.Rewritten() && (s.Len < 4 || s.Stub < headSize ||
				s.Stub >= len(p.Code)) {
				t.Errorf("site %+v", s)
			}
			if i > 0 && s.Rewritten() && p.Sites[i-1].Rewritten() &&
				p.Sites[i-1].Start+uint64(p.Sites[i-1].Len) > s.Start &&
				p.Sites[i-1].Start <= s.Start {
				t.Errorf("sites %+v and %+v overlap", p.Sites[i-1], s)
			}
		}
		p.Encode()
	})
}

// FuzzWindow gives it machine code.
func FuzzWindow(f *testing.F) {
	f.Add([]byte{0xb8, 42, 0, 0, 0, 0x0f, 0x05})
	f.Add([]byte{0x0f, 0x05, 0x0f, 0x05, 0xeb, 0xfc})
	f.Fuzz(func(t *testing.T, code []byte) {
		for _, m := range []elf.Machine{elf.EM_X86_64, elf.EM_AARCH64} {
			p, err := New(program(m, 0x400000, code), func(int) bool { return true })
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range p.Sites {
				if s.Rewritten() && (s.Start < 0x400000 ||
					s.Start+uint64(s.Len) > 0x400000+uint64(len(code))) {
					t.Errorf("window of %+v is not in the code", s)
				}
			}
		}
	})
}
