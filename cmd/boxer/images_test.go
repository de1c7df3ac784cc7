//go:build compose

package main

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// TestImagesDir looks for the directory of images with and without a home. Without one,
// boxer does not use what another user may have put below /tmp.
func TestImagesDir(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	want := filepath.Join(cache, "boxer", "images")
	if got, err := imagesDir(); got != want || err != nil {
		t.Errorf("with a cache directory: %q, %v; want %q", got, err, want)
	}
	runtime, tmp := t.TempDir(), t.TempDir()
	t.Setenv("XDG_CACHE_HOME", "")
	t.Setenv("HOME", "")
	t.Setenv("XDG_RUNTIME_DIR", runtime)
	t.Setenv("TMPDIR", tmp)
	planted := filepath.Join(tmp, "boxer-cache-"+strconv.Itoa(os.Geteuid()), "boxer")
	if err := os.MkdirAll(planted, 0o777); err != nil {
		t.Fatal(err)
	}
	want = filepath.Join(runtime, "boxer", "images")
	if got, err := imagesDir(); got != want || err != nil {
		t.Errorf("without a home: %q, %v; want %q", got, err, want)
	}
	private := filepath.Join(runtime, "boxer")
	st, err := os.Stat(private)
	if err != nil || st.Mode().Perm() != 0o700 {
		t.Fatalf("the runtime directory: %v, %v; want mode 0700", st, err)
	}
	if err := os.Chmod(private, 0o777); err != nil {
		t.Fatal(err)
	}
	if got, err := imagesDir(); err == nil {
		t.Errorf("in a directory that others can write: %q; want an error", got)
	}
}
