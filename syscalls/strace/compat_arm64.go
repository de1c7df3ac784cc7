package strace

// compatABI is the name of the 32-bit ABI.
const compatABI = "arm"

// wideArg returns the first of the two registers of a 64-bit argument that follows i
// registers. It has the lower half, and an even number.
func wideArg(i int) int { return i + i%2 }
