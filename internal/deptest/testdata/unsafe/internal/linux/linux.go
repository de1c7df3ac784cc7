package linux

import "unsafe"

var word = unsafe.Sizeof(uintptr(0))
