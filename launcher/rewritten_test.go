package launcher

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestPlanCache looks for a place for plans where the cache directory is this user's,
// cannot be made, or belongs to somebody else, as under sudo -E.
func TestPlanCache(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	own := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", own)
	if got, want := planCache(), filepath.Join(own, "boxer", "plans"); got != want {
		t.Errorf("plans are in %s, want %s", got, want)
	}
	t.Setenv("XDG_CACHE_HOME", "/proc/nothing")
	if got := planCache(); !strings.HasPrefix(got, tmp) {
		t.Errorf("without a cache directory, plans are in %s", got)
	}
	if os.Geteuid() != 0 {
		t.Skip("the rest takes root")
	}
	other := t.TempDir()
	if err := unix.Chown(other, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	t.Setenv("XDG_CACHE_HOME", filepath.Join(other, "cache"))
	if got := planCache(); !strings.HasPrefix(got, tmp) {
		t.Errorf("with another user's cache directory, plans are in %s", got)
	}
	if entries, err := os.ReadDir(other); err != nil || len(entries) > 0 {
		t.Errorf("in the other user's directory there is %v, %v", entries, err)
	}
}
