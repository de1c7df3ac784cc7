package plan

import "testing"

// BenchmarkNew plans the C library: the most that a small program waits for when its
// files are new.
func BenchmarkNew(b *testing.B) {
	file := read(b, "/lib/x86_64-linux-gnu/libc.so.6")
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		if _, err := New(file, wantedAMD64); err != nil {
			b.Fatal(err)
		}
	}
}
