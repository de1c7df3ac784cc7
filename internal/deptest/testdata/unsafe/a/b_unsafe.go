package a

import "unsafe"

var word = unsafe.Sizeof(uintptr(0))
