package deptest

import (
	"slices"
	"testing"
)

// TestUnsafe holds that one package makes raw system calls.
func TestUnsafe(t *testing.T) {
	wrong, err := CheckUnsafe("../..")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range wrong {
		t.Error(err)
	}
}

// TestCheckUnsafeFinds checks files that do what they may not.
func TestCheckUnsafeFinds(t *testing.T) {
	wrong, err := CheckUnsafe("testdata/unsafe")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, err := range wrong {
		got = append(got, err.Error())
	}
	const may = ": only internal/linux and files named *_unsafe.go may"
	want := []string{"a/a.go imports unsafe" + may, "a/a.go calls unix.RawSyscall" + may,
		"a/a_arm64.go calls syscall.Syscall" + may}
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if _, err := CheckUnsafe("testdata/unsafe/empty"); err == nil {
		t.Error("no error where there is nothing to check")
	}
}
