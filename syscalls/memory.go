package syscalls

import (
	"encoding/binary"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// readSockaddr reads the address argument of bind(2), connect(2) and sendto(2).
func readSockaddr(c Call, addr uintptr, size int) (abi.Sockaddr, error) {
	var buf [abi.SizeofSockaddrStorage]byte
	b, err := readName(c, addr, size, buf[:])
	if err != nil {
		return abi.Sockaddr{}, err
	}
	return abi.ParseSockaddr(b)
}

// readBindAddr is readSockaddr for bind(2) on a socket of a domain. An AF_INET socket
// also accepts the wildcard with the family AF_UNSPEC (__inet_bind of
// net/ipv4/af_inet.c). OpenMPI binds that way.
func readBindAddr(c Call, addr uintptr, size, domain int) (abi.Sockaddr, error) {
	var buf [abi.SizeofSockaddrStorage]byte
	b, err := readName(c, addr, size, buf[:])
	if err != nil {
		return abi.Sockaddr{}, err
	}
	if domain == unix.AF_INET && len(b) >= abi.SizeofSockaddrInet4 &&
		binary.NativeEndian.Uint16(b) == unix.AF_UNSPEC &&
		binary.NativeEndian.Uint32(b[4:]) == 0 {
		binary.NativeEndian.PutUint16(b, unix.AF_INET)
	}
	return abi.ParseSockaddr(b)
}

// readName reads the bytes of a socket address into buf, as move_addr_to_kernel of
// net/socket.c does.
func readName(c Call, addr uintptr, size int, buf []byte) ([]byte, error) {
	if size < 0 || size > abi.SizeofSockaddrStorage {
		return nil, unix.EINVAL
	}
	return buf[:size], c.ReadMemory(addr, buf[:size])
}

// writeSockaddr stores a socket address as getsockname(2), accept(2) and recvfrom(2) do:
// at most *size bytes of it at addr, and its full length in *size.
func writeSockaddr(c Call, s abi.Sockaddr, addr, size uintptr) error {
	var buf [abi.SizeofSockaddrInet6]byte
	return writeName(c, abi.AppendSockaddr(buf[:0], s), addr, size)
}

// writeName is writeSockaddr for the bytes of an address.
func writeName(c Call, b []byte, addr, size uintptr) error {
	var room [4]byte
	if err := c.ReadMemory(size, room[:]); err != nil {
		return err
	}
	n := int(int32(binary.NativeEndian.Uint32(room[:])))
	if n < 0 {
		return unix.EINVAL
	}
	binary.NativeEndian.PutUint32(room[:], uint32(len(b)))
	return c.WriteMemoryv(addr, b[:min(n, len(b))], size, room[:])
}

// timespecWord returns the size in bytes of each field of a call's struct timespec.
func timespecWord(c Call) int {
	if t, ok := c.(*tracedCall); ok {
		c = t.Call
	}
	if c, ok := c.(*compatCall); ok && !c.time64 {
		return 4
	}
	return 8
}

// readTimespec reads the struct timespec at an address.
func readTimespec(c Call, at uintptr) (sec, nsec int64, err error) {
	var buf [16]byte
	b := buf[:2*timespecWord(c)]
	if err := c.ReadMemory(at, b); err != nil {
		return 0, 0, err
	}
	sec, nsec = abi.ParseTimespec(b)
	return sec, nsec, nil
}

// writeTimespec stores a struct timespec at an address.
func writeTimespec(c Call, at uintptr, sec, nsec int64) error {
	return c.WriteMemory(at, abi.AppendTimespec(nil, timespecWord(c), sec, nsec))
}
