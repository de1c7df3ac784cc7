package syscalls

import (
	"slices"
	"sync"
)

// Numbers has the numbers of system calls by their names: those of this architecture's
// own ABI and those of its 32-bit ABI.
type Numbers struct{ Native, Compat map[string]uintptr }

// A callTable has the calls that a trace shows.
type callTable struct {
	native [512]*signature
	compat map[uintptr]*signature // see compatCalls
}

// newCallTable returns a table of the calls with the given native numbers, and of those
// that mean the same in the 32-bit ABI.
func newCallTable(show []uintptr, numbers Numbers) *callTable {
	t := &callTable{compat: compatCalls(numbers, show)}
	byName := signaturesByName()
	for name, nr := range numbers.Native {
		if nr >= uintptr(len(t.native)) || !slices.Contains(show, nr) {
			continue
		}
		sig := signature{name: name, params: unknownParams}
		if known := byName[name]; known != nil {
			sig = *known
		}
		sig.nr = nr
		t.native[nr] = &sig
	}
	return t
}

// nativeCall returns the signature of a native call that is shown.
func (t *callTable) nativeCall(nr uintptr) *signature { return t.native[nr] }

// compatCall returns the signature of a call of the 32-bit ABI, by its number or by
// socketcallKey. ok is false if it is not shown.
func (t *callTable) compatCall(key uintptr) (sig *signature, ok bool) {
	sig, ok = t.compat[key]
	return sig, ok
}

// shows reports whether the native call of a number is shown.
func (t *callTable) shows(nr uintptr) bool {
	return nr < uintptr(len(t.native)) && t.native[nr] != nil
}

// signaturesByName are all calls that traces can show.
var signaturesByName = sync.OnceValue(func() map[string]*signature {
	m := make(map[string]*signature)
	for _, list := range [][]signature{networkCalls, watchedCalls} {
		for i := range list {
			m[list[i].name] = &list[i]
		}
	}
	return m
})

// unknownParams show a call that has no row of its own.
var unknownParams = []param{hexadecimal("0"), hexadecimal("1"), hexadecimal("2"),
	hexadecimal("3"), hexadecimal("4"), hexadecimal("5")}
