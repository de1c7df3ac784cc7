package rewrite

import (
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrOtherABI means that a program is for another machine, or a 32-bit program. The
// loader cannot start it.
var ErrOtherABI = errors.New("the program is not a 64-bit program for this machine")

// imageOf reads how a program or dynamic linker is mapped, and the path of the dynamic
// linker that it requests. Its errors wrap the errno that execve(2) would return:
// ENOEXEC.
func imageOf(f io.ReaderAt, machine elf.Machine) (m image, interpreter string,
	err error) {
	e, err := elf.NewFile(f)
	if err != nil {
		return m, "", fmt.Errorf("%w: %w", unix.ENOEXEC, err)
	}
	if e.Class != elf.ELFCLASS64 || e.Machine != machine {
		return m, "", fmt.Errorf("%w: %w: %v, %v", unix.ENOEXEC, ErrOtherABI, e.Class,
			e.Machine)
	}
	if e.Type != elf.ET_EXEC && e.Type != elf.ET_DYN {
		return m, "", fmt.Errorf("%w: %v", unix.ENOEXEC, e.Type)
	}
	m = image{Entry: e.Entry, NHeaders: uint32(len(e.Progs)), Low: ^uint64(0)}
	if e.Type == elf.ET_DYN {
		m.Dynamic = 1
	}
	var head [64]byte
	if _, err := f.ReadAt(head[:], 0); err != nil {
		return m, "", fmt.Errorf("%w: %w", unix.ENOEXEC, err)
	}
	headers := e.ByteOrder.Uint64(head[32:]) // e_phoff
	for _, p := range e.Progs {
		switch p.Type {
		case elf.PT_INTERP:
			b := make([]byte, min(p.Filesz, unix.PathMax))
			if _, err := p.ReadAt(b, 0); err != nil {
				return m, "", fmt.Errorf("%w: PT_INTERP: %w", unix.ENOEXEC, err)
			}
			interpreter, _, _ = strings.Cut(string(b), "\x00")
		case elf.PT_LOAD:
			if err := m.add(p, headers); err != nil {
				return m, "", err
			}
		}
	}
	if m.N == 0 {
		return m, "", fmt.Errorf("%w: no segments", unix.ENOEXEC)
	}
	return m, interpreter, nil
}

// add adds a PT_LOAD segment. headers is the offset of the program headers in the file.
func (m *image) add(p *elf.Prog, headers uint64) error {
	page := uint64(os.Getpagesize())
	switch {
	case m.N == maxSegments:
		return fmt.Errorf("%w: more than %d segments", unix.ENOEXEC, maxSegments)
	case p.Memsz < p.Filesz, p.Vaddr+p.Memsz < p.Vaddr, p.Vaddr+p.Memsz > 1<<47,
		p.Vaddr%page != p.Off%page, p.Memsz == 0:
		return fmt.Errorf("%w: segment at %#x", unix.ENOEXEC, p.Vaddr)
	}
	s := imageSegment{Addr: p.Vaddr, Offset: p.Off, Filesz: p.Filesz, Memsz: p.Memsz}
	for flag, prot := range map[elf.ProgFlag]uint32{elf.PF_R: unix.PROT_READ,
		elf.PF_W: unix.PROT_WRITE, elf.PF_X: unix.PROT_EXEC} {
		if p.Flags&flag != 0 {
			s.Prot |= prot
		}
	}
	if headers >= p.Off && headers < p.Off+p.Filesz {
		m.Headers = headers - p.Off + p.Vaddr
	}
	m.Low, m.High = min(m.Low, p.Vaddr), max(m.High, p.Vaddr+p.Memsz)
	if p.Align > m.Align && p.Align&(p.Align-1) == 0 && p.Align <= 1<<30 {
		m.Align = p.Align
	}
	m.Segments[m.N] = s
	m.N++
	return nil
}
