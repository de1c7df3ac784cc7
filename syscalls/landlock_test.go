package syscalls

import (
	"log/slog"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/landlock"
	"golang.org/x/sys/unix"
)

// TestRestrictionsNotKnown holds that a program is not told that it is restricted where
// boxer, which is out of descriptors, cannot find out what it is denied.
func TestRestrictionsNotKnown(t *testing.T) {
	n := &Node{core: core{Config: Config{Logger: slog.New(slog.DiscardHandler)}}}
	n.landlock.Domains = landlock.NewDomains()
	n.landlock.handled.Store(uint64(landlock.TCP))
	outOfDescriptors(t, func() {
		c := newFakeCall(t, 10, unix.SYS_LANDLOCK_RESTRICT_SELF, 0, 0)
		if r := n.restrictSelf(c); r.kind != replyErrno || r.errno != unix.EPERM {
			t.Errorf("no copy of the ruleset: kind %d, %v", r.kind, r.errno)
		}
	})
	none := newFakeCall(t, 10, unix.SYS_LANDLOCK_RESTRICT_SELF, ^uintptr(0), 0)
	if r := n.restrictSelf(none); r.kind != replyContinue {
		t.Errorf("no ruleset: kind %d, %v", r.kind, r.errno)
	}
}
