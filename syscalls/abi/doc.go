// Package abi encodes and decodes the structures that programs and the kernel exchange in
// socket calls.
//
// Its functions take bytes and return values, or the reverse. They know nothing of
// descriptors, calls or nodes, and they accept any bytes: a program can write what it
// likes. Where the kernel has a result for malformed input, the functions fail with the
// same errno.
//
// A 64-bit kernel also runs programs of its 32-bit ABI, whose structures with pointers
// and sizes have another layout. [Layout] says where the fields lie; [Native] and
// [Compat] are the two layouts.
package abi
