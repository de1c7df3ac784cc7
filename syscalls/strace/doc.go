// Package strace shows system calls in the notation of strace(1).
//
// A [Syscall] is one call as it was observed. While its thread stands still, the observer
// stores the arguments ([Syscall.Begin]), the memory that it reads and writes for the
// call ([Syscall.NoteMemory]) and what else the call's [Signature] needs
// ([Syscall.FetchArgs], which reads the thread's [Memory]). [Syscall.Decode] makes text
// of it at any later time.
//
// Signatures describe a call's parameters: networkcalls.go and othercalls.go have them,
// and compat.go has those of the 32-bit ABI. The names of constants are in tables
// (constants*.go). A [Selection] is a set of calls, as option -e of strace(1) has it.
package strace
