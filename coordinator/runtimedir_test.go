package coordinator

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
)

func TestRuntimeDir(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_RUNTIME_DIR", dir)
	want := filepath.Join(dir, "boxer")
	if got, err := RuntimeDir(); got != want || err != nil {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
	if st, err := os.Stat(want); err != nil || st.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v; want mode 0700", st, err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	inTmp := "/tmp/boxer-" + strconv.Itoa(os.Geteuid())
	for _, bad := range []string{"", "relative", filepath.Join(dir, "none"), file} {
		t.Setenv("XDG_RUNTIME_DIR", bad)
		got := RuntimeDirs()
		if !slices.Contains(got, inTmp) || bad != "" && filepath.Dir(got[0]) == bad {
			t.Errorf("XDG_RUNTIME_DIR=%s: got %v", bad, got)
		}
	}
}

// Another user may have taken a name: a directory in /tmp, or root with this user's
// XDG_RUNTIME_DIR.
func TestRuntimeDirOfAnother(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make another user's directory")
	}
	const other = 65534
	theirs := t.TempDir()
	if err := os.Chown(theirs, other, other); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_RUNTIME_DIR", theirs)
	if got := RuntimeDirs(); slices.Contains(got, filepath.Join(theirs, "boxer")) {
		t.Errorf("another user's XDG_RUNTIME_DIR is tried: %v", got)
	}
	ours := t.TempDir()
	for name, take := range map[string]func(string) error{
		"directory": func(p string) error { return os.Mkdir(p, 0o700) },
		"file":      func(p string) error { return os.WriteFile(p, nil, 0o600) },
		"link":      func(p string) error { return os.Symlink(t.TempDir(), p) },
	} {
		path := filepath.Join(ours, name)
		if err := errors.Join(take(path), os.Lchown(path, other, other)); err != nil {
			t.Fatal(err)
		}
		if err := makePrivateDir(path); !errors.Is(err, errForeign) {
			t.Errorf("%s of another user: %v, want errForeign", name, err)
		}
	}
	taken, next := filepath.Join(ours, "directory"), filepath.Join(ours, "next")
	if got, err := firstPrivate([]string{taken, next}); got != next || err != nil {
		t.Errorf("got %s, %v; want the next directory", got, err)
	}
	if got, err := firstPrivate([]string{taken}); !errors.Is(err, errForeign) {
		t.Errorf("got %s, %v; want errForeign", got, err)
	}
}
