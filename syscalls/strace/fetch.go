package strace

// A Memory is the memory of the thread that called.
type Memory interface {
	// ReadMemory fills b with the memory at an address. It fails if not all of it can be
	// read.
	ReadMemory(addr uintptr, b []byte) error
}

// A fetcher reads the memory that a call's arguments point to, and stores it.
type fetcher struct {
	*Syscall
	mem Memory
}

// FetchArgs reads and stores the memory that the arguments point to, as far as Decode
// shows it and NoteMemory has not stored it.
func (s *Syscall) FetchArgs(mem Memory) {
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

// fetch returns n bytes at addr, which it reads unless they are stored. ok is false if
// they cannot be read.
func (f fetcher) fetch(addr uintptr, n int) (b []byte, ok bool) {
	if addr == 0 || n <= 0 {
		return nil, false
	}
	n = min(n, maxKept)
	if b, ok := f.view(addr, n, false); ok {
		return b, true
	}
	b = make([]byte, n)
	if f.mem.ReadMemory(addr, b) != nil {
		return nil, false
	}
	f.NoteMemory(addr, b, false)
	return b, true
}
