package abi

// SysSocketcall is the number of no call: the 32-bit ABI, EABI, has no socketcall(2).
const SysSocketcall = ^uintptr(0)

// Socketcalls is empty.
var Socketcalls = map[uint32]Socketcall{}
