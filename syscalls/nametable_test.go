package syscalls

import (
	"bytes"
	"encoding/binary"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// A fakeNames is a NameTable. A boxed machine answers every second call of getsockname(2)
// and getpeername(2) by it, if it can, as package rewrite does.
type fakeNames struct {
	mu      sync.Mutex
	used    bool
	count   uint64
	entries map[uint64]SocketNames

	calls, answered int
}

// Set implements NameTable.
func (f *fakeNames) Set(cookie, count uint64, n SocketNames) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if count != f.count {
		return
	}
	if f.entries == nil {
		f.entries = make(map[uint64]SocketNames)
	}
	f.entries[cookie] = n
}

// Forget implements NameTable.
func (f *fakeNames) Forget(cookie uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	delete(f.entries, cookie)
}

// Count implements NameTable.
func (f *fakeNames) Count() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count
}

// Use implements NameTable.
func (f *fakeNames) Use(yes bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.used = yes
}

// answer returns whether the table has answered a call.
func (f *fakeNames) answer(c *fakeCall) bool {
	fd := c.Int(0)
	id, err := cookie(fd)
	if err != nil {
		return false
	}
	var own, far [abi.SizeofSockaddrStorage]byte
	ownSize, ownErr := linux.Getsockname(fd, own[:])
	farSize, farErr := linux.Getpeername(fd, far[:])
	if ownErr != nil {
		return false
	}
	if farErr != nil {
		farSize = 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	e, ok := f.entries[id]
	name := e.OwnName
	if c.nr == unix.SYS_GETPEERNAME {
		name = e.FarName
	}
	if !ok || !f.used || f.calls%2 == 0 || len(name) == 0 ||
		!bytes.Equal(e.Own, own[:ownSize]) || !bytes.Equal(e.Far, far[:farSize]) {
		return false
	}
	f.answered++
	var size [4]byte
	if c.ReadMemory(c.Ptr(2), size[:]) != nil {
		return false
	}
	room := int(int32(binary.NativeEndian.Uint32(size[:])))
	if room < 0 {
		return false
	}
	binary.NativeEndian.PutUint32(size[:], uint32(len(name)))
	return c.WriteMemoryv(c.Ptr(1), name[:min(room, len(name))], c.Ptr(2), size[:]) == nil
}
