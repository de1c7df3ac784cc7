// Package plan finds the system-call instructions of an ELF file and decides how each is
// rewritten. Package rewrite uses it to take calls inside a program on hosts whose kernel
// refuses filters.
//
// [New] returns a [Plan]: the instructions that are replaced, and the machine code of the
// stubs that take their place. A stub looks the call's number up in a table. It executes
// a call that is not wanted, and jumps to a hook with every other call. The hook and the
// table are not part of the plan. The code that applies the plan writes their addresses
// into the head of the stubs.
//
// # Finding sites
//
// On amd64 the bytes 0f 05 may be a part of another instruction. So the package decodes
// from the start of the function, which it takes from .eh_frame_hdr and the symbols. If
// these do not have it, the package decodes from sixteen places before the bytes.
// Decoders of x86 synchronize within a few instructions, so the majority decides. On
// arm64 each aligned word d4000001 is a site.
//
// # Rewriting a site
//
// The jump to a stub takes five bytes on amd64, and the instruction has two. The package
// takes whole instructions around it (a window), moves them into the stub and corrects
// the operands that are relative to the instruction pointer. No branch may lead into the
// middle of a window. The package looks for branches in the function, for 32-bit
// displacements in all of the text, for addresses in the data, and for the function's
// jump tables. On arm64 instruction and branch have the same four bytes.
//
// The package leaves a site unchanged if its number is a constant that is not wanted.
package plan
