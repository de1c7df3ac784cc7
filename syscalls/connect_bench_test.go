package syscalls

import (
	"encoding/binary"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// BenchmarkConnect connects to a listener of the other node, over the network in memory,
// accepts and closes.
func BenchmarkConnect(b *testing.B) {
	w := &script{world: boxedWorld(b), ports: map[uint16]string{},
		literal: map[uint16]bool{}}
	w.offset = uint16(scripts.Add(1)%maxScripts) * portsEach
	l := w.listener(w.b, "0.0.0.0:7000")
	sa := encode(unix.AF_INET, w.parse("B:7000"))
	_, p := w.a.mem.take(len(sa), sa)
	_, ap := w.b.mem.take(abi.SizeofSockaddrStorage, nil)
	size, sp := w.b.mem.take(4, nil)
	for b.Loop() {
		fd, _ := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if _, errno := w.a.call(1, unix.SYS_CONNECT, uintptr(fd), p,
			uintptr(len(sa))); errno != 0 {
			b.Fatal(errno)
		}
		binary.NativeEndian.PutUint32(size, abi.SizeofSockaddrStorage)
		got, errno := w.b.call(2, unix.SYS_ACCEPT4, l.fdArg(), ap, sp, 0)
		if errno != 0 {
			b.Fatal(errno)
		}
		unix.Close(fd)
		unix.Close(int(got))
	}
}
