package syscalls

import "encoding/binary"

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

// parseTimespec reads a struct timespec, or with 8 bytes a struct old_timespec32
// (linux/time32.h).
func parseTimespec(b []byte) (sec, nsec int64) {
	if len(b) == 2*4 {
		return int64(int32(binary.NativeEndian.Uint32(b))),
			int64(int32(binary.NativeEndian.Uint32(b[4:])))
	}
	return int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
}

// appendTimespec appends a struct timespec whose fields have the given size in bytes: 4 or
// 8.
func appendTimespec(b []byte, word int, sec, nsec int64) []byte {
	if word == 4 {
		b = binary.NativeEndian.AppendUint32(b, uint32(sec))
		return binary.NativeEndian.AppendUint32(b, uint32(nsec))
	}
	b = binary.NativeEndian.AppendUint64(b, uint64(sec))
	return binary.NativeEndian.AppendUint64(b, uint64(nsec))
}
