package rewrite

import (
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/rewrite/plan"
)

// A file describes a file that a program has executed or mapped.
type file struct {
	once sync.Once

	plan  []byte // encoded
	sites int    // number of rewritten sites
	err   error
}

// memory returns a memfd that holds the plan, for a process. It creates one for each
// request, because there may be hundreds of files and few descriptors.
func (f *file) memory() (*os.File, error) { return memory("boxer-plan", f.plan, false) }

// fileID identifies a file and the version of its contents.
type fileID struct {
	dev, ino uint64
	size     int64
	changed  unix.Timespec
}

// files holds the plans of files.
type files struct {
	wanted func(number int) bool
	cache  *planCache
	warn   func(name string, sites []plan.Site)

	mu sync.Mutex
	m  map[fileID]*file
}

// get returns the file's plan, which it makes once.
func (c *files) get(f *os.File) (*file, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, os.NewSyscallError("fstat", err)
	}
	id := fileID{uint64(st.Dev), st.Ino, st.Size, st.Ctim}
	c.mu.Lock()
	if c.m == nil {
		c.m = make(map[fileID]*file)
	}
	known, ok := c.m[id]
	if !ok {
		known = &file{}
		c.m[id] = known
	}
	c.mu.Unlock()
	known.once.Do(func() { known.err = c.make(known, f, id) })
	return known, known.err
}

func (c *files) make(to *file, f *os.File, id fileID) (err error) {
	encoded, ok := c.cache.get(id)
	if !ok {
		if encoded, err = c.plan(f, id); err != nil {
			return err
		}
	}
	to.plan, to.sites = encoded, sitesOf(encoded)
	return nil
}

// plan makes the plan of a file.
func (c *files) plan(f *os.File, id fileID) ([]byte, error) {
	if id.size <= 0 {
		return nil, fmt.Errorf("%w: it is empty", plan.ErrForeign)
	}
	b, err := unix.Mmap(int(f.Fd()), 0, int(id.size), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	defer unix.Munmap(b)
	p, err := plan.New(b, c.wanted)
	if err != nil {
		return nil, err
	}
	var impossible []plan.Site
	for _, s := range p.Sites {
		if s.Way == plan.Impossible {
			impossible = append(impossible, s)
		}
	}
	encoded := p.Encode()
	if len(impossible) == 0 {
		c.cache.put(id, encoded)
	} else { // an error is returned each time
		c.warn(nameOf(f), impossible)
	}
	return encoded, nil
}

// planHead is the length of struct plan_head of inside/inside.h.
const planHead = len(plan.Magic) + 4*4

// sitesOf returns how many sites an encoded plan rewrites.
func sitesOf(encoded []byte) int {
	return int(binary.LittleEndian.Uint32(encoded[len(plan.Magic)+4:]))
}

// whole reports whether b is an encoded plan of the length that its head states.
func whole(b []byte) bool {
	if len(b) < planHead || string(b[:len(plan.Magic)]) != plan.Magic {
		return false
	}
	n := func(i int) int { return int(binary.LittleEndian.Uint32(b[len(plan.Magic)+4*i:])) }
	return len(b) == planHead+24*n(0)+16*n(1)+24*n(2)+n(3)
}

// memory returns a memfd with the contents of b, sealed against changes.
func memory(name string, b []byte, executable bool) (*os.File, error) {
	// since Linux 6.3, where vm.memfd_noexec may forbid executing memfds without it
	const mfdExec = 0x10
	flags := unix.MFD_CLOEXEC | unix.MFD_ALLOW_SEALING
	fd, err := -1, error(unix.EINVAL)
	if executable {
		fd, err = unix.MemfdCreate(name, flags|mfdExec)
	}
	if errors.Is(err, unix.EINVAL) {
		fd, err = unix.MemfdCreate(name, flags)
	}
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := f.Write(b); err != nil {
		f.Close()
		return nil, err
	}
	const seals = unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE | unix.F_SEAL_SEAL
	if _, err := unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, seals); err != nil {
		f.Close()
		return nil, os.NewSyscallError("fcntl F_ADD_SEALS", err)
	}
	return f, nil
}

// nameOf returns the path of an open file.
func nameOf(f *os.File) string {
	name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return f.Name()
	}
	return name
}

// isForeign reports whether a file has no sites because it is not an ELF file for this
// machine.
func isForeign(err error) bool {
	var format *elf.FormatError
	return errors.Is(err, plan.ErrForeign) || errors.As(err, &format)
}
