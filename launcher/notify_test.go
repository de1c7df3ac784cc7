package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestNotifierFolder gives the notifier directories in which no socket for sd_notify(3)
// can be.
func TestNotifierFolder(t *testing.T) {
	short := t.TempDir()
	long := filepath.Join(short, strings.Repeat("d", 100))
	if err := os.Mkdir(long, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(short)
	for _, tc := range []struct {
		name, tmpdir string
		abstract     bool
	}{
		{"ordinary", "/tmp", false},
		{"too long", long, true},
		{"relative", ".", true},
		{"missing", filepath.Join("/tmp", filepath.Base(short), "none"), true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("TMPDIR", tc.tmpdir)
			t.Setenv(notifySocket, filepath.Join(short, "manager"))
			n, err := startNotifier(nil)
			if err != nil {
				t.Fatal(err)
			}
			path := n.socket()
			n.close()
			if abstract := path[0] == '@'; abstract != tc.abstract {
				t.Errorf("the program's socket is %s", path)
			}
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s is left", path)
			}
		})
	}
	for _, dir := range []string{short, long} {
		if left, err := filepath.Glob(filepath.Join(dir, notifyFolder+"*")); err != nil ||
			len(left) > 0 {
			t.Errorf("left: %q, %v", left, err)
		}
	}
}
