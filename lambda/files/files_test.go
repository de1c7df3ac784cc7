package files

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestWalk(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.Mkdir(at("b"), 0o700), os.Mkdir(at("empty"), 0o755),
		os.WriteFile(at("b/tool"), nil, 0o600), os.Chmod(at("b/tool"), 0o700|os.ModeSetuid),
		os.WriteFile(at("a"), nil, 0o600), os.Symlink("../out", at("link"))); err != nil {
		t.Fatal(err)
	}
	var got []string
	list := func(e Entry) error {
		got = append(got, e.Name+" "+e.Mode.String()+" "+e.Link)
		return nil
	}
	if err := Walk(dir, list); err != nil {
		t.Fatal(err)
	}
	want := []string{"a -rw-r--r-- ", "b drwxr-xr-x ", "b/tool -rwxr--r-- ",
		"empty drwxr-xr-x ", "link Lrwxrwxrwx ../out"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if err := unix.Mkfifo(at("fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Walk(dir, list); err == nil {
		t.Error("a FIFO is taken")
	}
}
