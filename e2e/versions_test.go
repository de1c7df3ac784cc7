package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// olderCommit is a version of boxer whose nodes and coordinators are out there: they
// speak version 3 of the coordinator's protocol. This version works with them.
const olderCommit = "a7e3ed79d91a6ce3dd51c45d55fd2dd4664213b1"

// olderBoxer builds it.
func olderBoxer(t *testing.T) string {
	t.Helper()
	needBoxer(t)
	natlab.NeedCommands(t, "git", "tar")
	git := func(args ...string) *exec.Cmd {
		return exec.Command("git", append([]string{"-c", "safe.directory=*", "-C", ".."},
			args...)...)
	}
	if err := git("cat-file", "-e", olderCommit+"^{commit}").Run(); err != nil {
		t.Skipf("commit %s is not here: it takes a clone with the whole history",
			olderCommit)
	}
	path := filepath.Join(built, "boxer-"+olderCommit)
	if _, err := os.Stat(path); err == nil {
		return path
	}
	dir := tempDir(t)
	archive := filepath.Join(dir, "tar")
	for _, cmd := range []*exec.Cmd{
		git("archive", "-o", archive, olderCommit),
		exec.Command("tar", "-x", "-f", archive, "-C", dir),
	} {
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", cmd, err, out)
		}
	}
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", path, "./cmd/boxer")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "CGO_ENABLED=1", "GOWORK=off",
		"GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build boxer at %s: %v\n%s", olderCommit, err, out)
	}
	return path
}

// TestVersions mixes versions: old and new nodes on a new coordinator, and on an old
// one that is upgraded under them.
func TestVersions(t *testing.T) {
	old := olderBoxer(t)
	for _, tc := range []struct{ name, coordinator string }{{"new coordinator", ""},
		{"old coordinator", old}} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCloudOf(t, tc.coordinator)
			mine, theirs := c.function("mine", punchable), c.function("theirs", punchable)
			theirs.binary = old
			mine.echo()
			theirs.echo()
			probe := program(t, "probe")
			for _, from := range []*function{mine, theirs} {
				from.named("client").run(probe, "wait", "mine:7")
				from.named("client").run(probe, "wait", "theirs:7")
			}
			held := mine.named("holder").start(probe, "hold", "theirs:7", "3")
			held.Expect(`^holding 3$`)

			// The upgrade: nodes of both versions come back to it.
			c.coordinator.Signal(syscall.SIGTERM)
			if status := c.coordinator.Wait(proctest.Patience); status != 0 {
				t.Errorf("the coordinator ended with status %d", status)
			}
			c.binary = ""
			c.startCoordinator()
			held.Say("hello")
			held.Expect(`^echoed hello 3$`)
			for _, from := range []*function{mine, theirs} {
				from.named("late").run(probe, "wait", "mine:7")
				from.named("late").run(probe, "wait", "theirs:7")
			}
		})
	}
}
