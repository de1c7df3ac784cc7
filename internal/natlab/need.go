package natlab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// TB is the part of testing.TB that the helpers for tests use; so programs other than
// tests do not link that package.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// ForTest returns a lab that is closed when the test ends. Where there can be none, the
// test is skipped with the reason; if CI=true is in the environment, it fails.
func ForTest(t TB) *Lab {
	t.Helper()
	if unavailable != nil {
		Skip(t, unavailable.Error())
	}
	NeedCommands(t, tools...)
	lab, err := New(t.Context())
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Errorf("close the lab: %v", err)
		}
	})
	return lab
}

// NeedCommands skips the test, or with CI=true fails it, if one of the commands is not
// installed.
func NeedCommands(t TB, names ...string) {
	t.Helper()
	for _, name := range names {
		if _, err := exec.LookPath(name); err != nil {
			Skip(t, err.Error())
		}
	}
}

// NeedUsers skips the test, or with CI=true fails it, if processes cannot take another
// user's identity: without root, the lab's user namespace has one user only
// (user_namespaces(7)).
func NeedUsers(t TB) {
	t.Helper()
	if err := Users(); err != nil {
		Skip(t, err.Error())
	}
}

// Users returns an error if there is but one user in this user namespace.
func Users() error {
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(uids))
	if len(fields) == 3 && fields[2] == "1" {
		return fmt.Errorf("natlab: there is one user only in here: other users need root")
	}
	return nil
}

// Skip skips the test, or with CI=true fails it: something that it needs is not there.
func Skip(t TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (CI=true: nothing may be skipped)", reason)
	}
	t.Skipf("%s", reason)
}
