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
	denied := &restrictions{Domains: landlock.NewDomains(),
		log: slog.New(slog.DiscardHandler)}
	denied.handled.Store(uint64(landlock.TCP))
	outOfDescriptors(t, func() {
		c := newFakeCall(t, 10, unix.SYS_LANDLOCK_RESTRICT_SELF, 0, 0)
		if r := denied.restrictSelf(c); r.kind != replyErrno || r.errno != unix.EPERM {
			t.Errorf("no copy of the ruleset: kind %d, %v", r.kind, r.errno)
		}
	})
	none := newFakeCall(t, 10, unix.SYS_LANDLOCK_RESTRICT_SELF, ^uintptr(0), 0)
	if r := denied.restrictSelf(none); r.kind != replyContinue {
		t.Errorf("no ruleset: kind %d, %v", r.kind, r.errno)
	}
}
