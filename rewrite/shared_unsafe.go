package rewrite

import "unsafe"

// sizeofShared is the size of the memory that the server shares with programs, in bytes.
const sizeofShared = int(unsafe.Sizeof(shared{}))

// sharedIn returns the shared structure at the start of a mapping of sizeofShared bytes.
func sharedIn(mapped []byte) *shared {
	_ = mapped[sizeofShared-1]
	return (*shared)(unsafe.Pointer(unsafe.SliceData(mapped)))
}

// logsIn returns the logs in a mapping of slots * sizeofLog bytes.
func logsIn(mapped []byte) []callLog {
	_ = mapped[slots*sizeofLog-1]
	return unsafe.Slice((*callLog)(unsafe.Pointer(unsafe.SliceData(mapped))), slots)
}
