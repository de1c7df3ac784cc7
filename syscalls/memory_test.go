package syscalls

import (
	"bytes"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// memoryBase is where the memory of a memCall begins.
const memoryBase = 0x10000

// A memCall is a call of a program whose memory is a slice: wild pointers lead nowhere.
type memCall struct {
	*fakeCall
	mem    []byte
	compat bool
}

func (c *memCall) Compat() bool { return c.compat }

func (c *memCall) at(addr uintptr, n int) ([]byte, error) {
	if addr < memoryBase || addr-memoryBase > uintptr(len(c.mem)) ||
		uintptr(n) > uintptr(len(c.mem))-(addr-memoryBase) {
		return nil, unix.EFAULT
	}
	return c.mem[addr-memoryBase:][:n], nil
}

func (c *memCall) ReadMemory(addr uintptr, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	m, err := c.at(addr, len(b))
	copy(b, m)
	return err
}

func (c *memCall) WriteMemory(addr uintptr, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	m, err := c.at(addr, len(b))
	copy(m, b)
	return err
}

func (c *memCall) WriteMemoryv(addr1 uintptr, b1 []byte, addr2 uintptr, b2 []byte) error {
	if err := c.WriteMemory(addr1, b1); err != nil {
		return err
	}
	return c.WriteMemory(addr2, b2)
}

// FuzzMsghdr gives the node a struct msghdr, with all that it points to, of either ABI.
func FuzzMsghdr(f *testing.F) {
	lay := abi.Native
	seed := make([]byte, 256)
	copy(seed, lay.EncodeWord(memoryBase+100))
	copy(seed[lay.MsgNamelen:], []byte{16})
	copy(seed[lay.MsgIov:], lay.EncodeWord(memoryBase+64))
	copy(seed[lay.MsgIovlen:], lay.EncodeWord(1))
	copy(seed[lay.MsgControl:], lay.EncodeWord(memoryBase+150))
	copy(seed[lay.MsgControllen:], lay.EncodeWord(32))
	copy(seed[64:], lay.EncodeWord(memoryBase+200))
	copy(seed[64+lay.Word:], lay.EncodeWord(20))
	f.Add(false, seed, []byte("payload"))
	f.Add(true, seed, []byte("payload"))
	f.Fuzz(func(t *testing.T, compat bool, mem, payload []byte) {
		c := &memCall{newFakeCall(t, 1, unix.SYS_RECVMSG), bytes.Clone(mem), compat}
		m, err := readMsghdr(c, memoryBase)
		if err != nil {
			return
		}
		if control, err := readControl(c, m); err == nil {
			abi.CutSource(control)
		}
		var b [maxDatagram]byte
		if n, err := gather(c, m, b[:]); err == nil && n > len(b) {
			t.Fatalf("%d bytes are gathered", n)
		}
		iov, total, err := readIovecs(c, m)
		if err != nil {
			return
		}
		payload = payload[:min(uint64(len(payload)), total)]
		if scatter(c, iov, payload) == nil {
			finishMessage(c, m, 16, 0, 0)
		}
	})
}

// FuzzIfconf gives the node a struct ifconf.
func FuzzIfconf(f *testing.F) {
	seed := make([]byte, 200)
	seed[0] = 120
	copy(seed[abi.Native.IfconfBuf:], abi.Native.EncodeWord(memoryBase+20))
	f.Add(false, seed)
	f.Add(true, seed)
	n := linkNode()
	f.Fuzz(func(t *testing.T, compat bool, mem []byte) {
		c := &memCall{newFakeCall(t, 1, unix.SYS_IOCTL), bytes.Clone(mem), compat}
		n.interfaceList(c, memoryBase)
	})
}
