package rewrite

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// planOf returns the plan that a Server with a cache has of a file.
func planOf(t *testing.T, cache, path string, rules ...Rule) string {
	t.Helper()
	s, err := New(Config{Cache: cache, Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	known, err := s.files.get(f)
	if err != nil {
		t.Fatal(err)
	}
	return string(known.plan)
}

func TestPlanCache(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "plans")
	made := planOf(t, dir, "/proc/self/exe")
	kept, err := filepath.Glob(dir + "/*")
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %q, %v", kept, err)
	}
	// What is kept is taken: put another plan there.
	other := planOf(t, "", "/bin/true")
	if other == made {
		t.Fatal("two files have one plan")
	}
	if err := os.WriteFile(kept[0], []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if planOf(t, dir, "/proc/self/exe") != other {
		t.Error("the plan that is kept was not taken")
	}
	// With other calls that are wanted it is another plan.
	if planOf(t, dir, "/proc/self/exe", Rule{Nr: unix.SYS_GETPPID}) == other {
		t.Error("the plan for other calls was taken")
	}
	// What is not whole is made again.
	if err := os.WriteFile(kept[0], []byte(other[:len(other)-1]), 0o600); err != nil {
		t.Fatal(err)
	}
	if planOf(t, dir, "/proc/self/exe") != made {
		t.Error("a plan that is cut off was taken")
	}
	// Nothing of other users is.
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(kept[0], []byte(other), 0o600); err != nil {
		t.Fatal(err)
	}
	if planOf(t, dir, "/proc/self/exe") != made {
		t.Error("a plan from a directory that others may write to was taken")
	}
}
