package syscalls

import (
	"encoding/binary"

	"golang.org/x/sys/unix"
)

// compatOptions are those whose values getsockopt(2) lays out in another way for the
// 32-bit ABI, and which nothing here converts.
var compatOptions = map[plainOption]bool{
	{unix.SOL_IP, unix.IP_PKTOPTIONS}:         true,
	{unix.SOL_IP, unix.MCAST_MSFILTER}:        true,
	{unix.SOL_IPV6, unix.IPV6_2292PKTOPTIONS}: true,
	{unix.SOL_IPV6, unix.MCAST_MSFILTER}:      true,
}

// timeOptions have a struct timeval as their value: socket(7).
var timeOptions = map[plainOption]bool{
	{unix.SOL_SOCKET, unix.SO_RCVTIMEO}: true,
	{unix.SOL_SOCKET, unix.SO_SNDTIMEO}: true,
}

// sizeofCompatTimeval is the size of struct old_timeval32 in bytes (linux/time32.h).
const sizeofCompatTimeval = 8

// nativeTimeval makes the struct old_timeval32 at the beginning of b a native struct
// timeval, and returns the size of that in bytes.
func nativeTimeval(b []byte) int {
	sec, usec := int32(binary.NativeEndian.Uint32(b)),
		int32(binary.NativeEndian.Uint32(b[4:]))
	binary.NativeEndian.PutUint64(b, uint64(int64(sec)))
	binary.NativeEndian.PutUint64(b[8:], uint64(int64(usec)))
	return 16
}

// compatTimeval does the reverse.
func compatTimeval(b []byte) int {
	sec, usec := binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])
	binary.NativeEndian.PutUint32(b, uint32(sec))
	binary.NativeEndian.PutUint32(b[4:], uint32(usec))
	return sizeofCompatTimeval
}
