package abi

import (
	"bytes"
	"testing"
)

// FuzzCompatControl takes control messages to the native layout and back.
func FuzzCompatControl(f *testing.F) {
	f.Add([]byte{16, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 2, 3, 4})
	f.Add([]byte{13, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 12, 0, 0, 0, 1, 1, 1, 1,
		2, 2, 2, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		native := NativeControl(b)
		back, cut := CompatControl(native, uint64(len(b)))
		if cut {
			t.Fatalf("%x does not fit into the place of %x", native, b)
		}
		if again := NativeControl(back); !bytes.HasPrefix(native, again) {
			t.Fatalf("%x became %x, and that %x", b, native, again)
		}
	})
}
