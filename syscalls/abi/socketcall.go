package abi

// A Socketcall is a call that a program of the 32-bit ABI makes by socketcall(2).
type Socketcall struct {
	Nr   uintptr // the number of the native call
	Args int     // how many arguments, of 32 bits each, lie in memory
	Name string  // the name of the call; empty: that of the native call
}
