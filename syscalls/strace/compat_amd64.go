package strace

// compatABI is what the 32-bit ABI is called.
const compatABI = "i386"

// wideArg is where an argument of 64 bits is that follows i others: in two registers, the
// lower half first.
func wideArg(i int) int { return i }
