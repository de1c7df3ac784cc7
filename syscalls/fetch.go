package syscalls

import ()

// A Memory is the memory of a program.
type Memory interface {
	// ReadMemory fills b from an address, or fails.
	ReadMemory(addr uintptr, b []byte) error
}

// A fetcher takes down memory that it takes to show a call.
type fetcher struct {
	*Syscall
	mem Memory
}

// fetchArgs takes down what the arguments point to, as far as it is shown and not taken
// down yet.
func (s *Syscall) fetchArgs(mem Memory) {
	if s.sig == nil {
		return
	}
	f := fetcher{s, mem}
	for i := range s.sig.params {
		if need := s.sig.params[i].need; need != nil {
			need(f, i)
		}
	}
}

// fetch has n bytes at addr taken down, unless they are.
func (f fetcher) fetch(addr uintptr, n int) ([]byte, bool) {
	if addr == 0 || n <= 0 {
		return nil, false
	}
	n = min(n, maxKept)
	if b, ok := f.view(addr, n, false); ok {
		return b, true
	}
	b := make([]byte, n)
	if f.mem.ReadMemory(addr, b) != nil {
		return nil, false
	}
	f.keep(addr, b, false)
	return b, true
}
