package abi

import "encoding/binary"

// SizeofCompatTimeval is the size of struct old_timeval32 in bytes (linux/time32.h).
const SizeofCompatTimeval = 8

// NativeTimeval converts the struct old_timeval32 at the beginning of b, in place, to a
// native struct timeval, and returns the size of the result in bytes: 16.
func NativeTimeval(b []byte) int {
	sec, usec := int32(binary.NativeEndian.Uint32(b)),
		int32(binary.NativeEndian.Uint32(b[4:]))
	binary.NativeEndian.PutUint64(b, uint64(int64(sec)))
	binary.NativeEndian.PutUint64(b[8:], uint64(int64(usec)))
	return 16
}

// CompatTimeval converts the native struct timeval at the beginning of b, in place, to a
// struct old_timeval32, and returns the size of the result in bytes: SizeofCompatTimeval.
func CompatTimeval(b []byte) int {
	sec, usec := binary.NativeEndian.Uint64(b), binary.NativeEndian.Uint64(b[8:])
	binary.NativeEndian.PutUint32(b, uint32(sec))
	binary.NativeEndian.PutUint32(b[4:], uint32(usec))
	return SizeofCompatTimeval
}

// ParseTimespec reads a struct timespec of 16 bytes, or a struct old_timespec32
// (linux/time32.h) if b has 8.
func ParseTimespec(b []byte) (sec, nsec int64) {
	if len(b) == 2*4 {
		return int64(int32(binary.NativeEndian.Uint32(b))),
			int64(int32(binary.NativeEndian.Uint32(b[4:])))
	}
	return int64(binary.NativeEndian.Uint64(b)), int64(binary.NativeEndian.Uint64(b[8:]))
}

// AppendTimespec appends a struct timespec whose fields have word bytes each: 8, or 4 for
// a struct old_timespec32.
func AppendTimespec(b []byte, word int, sec, nsec int64) []byte {
	if word == 4 {
		b = binary.NativeEndian.AppendUint32(b, uint32(sec))
		return binary.NativeEndian.AppendUint32(b, uint32(nsec))
	}
	b = binary.NativeEndian.AppendUint64(b, uint64(sec))
	return binary.NativeEndian.AppendUint64(b, uint64(nsec))
}
