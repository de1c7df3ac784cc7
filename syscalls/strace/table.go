package strace

import (
	"slices"
	"sync"
)

// Numbers has the numbers of system calls by their names, in this architecture's native
// ABI and in its 32-bit ABI.
type Numbers struct{ Native, Compat map[string]uintptr }

// A Table has the signatures of the calls that a trace shows.
type Table struct {
	native [512]*Signature
	compat map[uintptr]*Signature // see CompatCalls
}

// NewTable returns a table of the calls with the given native numbers, and of the calls
// of the 32-bit ABI with the same meaning.
func NewTable(show []uintptr, numbers Numbers) *Table {
	t := &Table{compat: CompatCalls(numbers, show)}
	byName := signaturesByName()
	for name, nr := range numbers.Native {
		if nr >= uintptr(len(t.native)) || !slices.Contains(show, nr) {
			continue
		}
		sig := Signature{name: name, params: unknownParams}
		if known := byName[name]; known != nil {
			sig = *known
		}
		sig.Nr = nr
		t.native[nr] = &sig
	}
	return t
}

// Native returns the signature of a native call. The table must have it; see Shows.
func (t *Table) Native(nr uintptr) *Signature { return t.native[nr] }

// Compat returns the signature of a call of the 32-bit ABI, by its number or by
// SocketcallKey. ok is false if the table does not have it.
func (t *Table) Compat(key uintptr) (sig *Signature, ok bool) {
	sig, ok = t.compat[key]
	return sig, ok
}

// Shows reports whether the table has a native call.
func (t *Table) Shows(nr uintptr) bool {
	return nr < uintptr(len(t.native)) && t.native[nr] != nil
}

// signaturesByName returns the signatures of all calls that this package knows.
var signaturesByName = sync.OnceValue(func() map[string]*Signature {
	m := make(map[string]*Signature)
	for _, list := range [][]Signature{networkCalls, otherCalls} {
		for i := range list {
			m[list[i].name] = &list[i]
		}
	}
	return m
})

// unknownParams are the parameters of calls that this package does not know: registers.
var unknownParams = []param{hexadecimal("0"), hexadecimal("1"), hexadecimal("2"),
	hexadecimal("3"), hexadecimal("4"), hexadecimal("5")}
