package natlab

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// TB is the part of testing.TB that the helpers for tests use. It keeps programs that are
// not tests from linking package testing.
type TB interface {
	Helper()
	Cleanup(func())
	Context() context.Context
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
}

// ForTest returns a lab and closes it when the test ends. If a lab cannot be made,
// ForTest skips the test with the reason, or fails it if CI=true is in the environment.
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
// user's identity: without root, the lab's user namespace has only one user
// (user_namespaces(7)).
func NeedUsers(t TB) {
	t.Helper()
	if err := Users(); err != nil {
		Skip(t, err.Error())
	}
}

// Users returns an error if this user namespace has only one user.
func Users() error {
	uids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return err
	}
	fields := strings.Fields(string(uids))
	if len(fields) == 3 && fields[2] == "1" {
		return fmt.Errorf("natlab: this user namespace has only one user: other users need root")
	}
	return nil
}

// Skip skips the test, or with CI=true fails it, because something that the test needs is
// missing.
func Skip(t TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s (CI=true: no test may be skipped)", reason)
	}
	t.Skipf("%s", reason)
}
