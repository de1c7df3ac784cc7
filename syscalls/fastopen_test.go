package syscalls

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestFastOpenFlags looks at a program's socket while a send with MSG_FASTOPEN waits for
// the far side: other threads of the program use the same open file description, and must
// find O_NONBLOCK as the program has it.
func TestFastOpenFlags(t *testing.T) {
	if !fastOpenEnabled() {
		t.Skip("the host has TCP Fast Open switched off (net.ipv4.tcp_fastopen)")
	}
	for _, tc := range []struct {
		name        string
		nonblocking bool
		flags       uintptr
		waits       bool
	}{
		{"blocking", false, 0, true},
		{"blocking, MSG_DONTWAIT", false, unix.MSG_DONTWAIT, false},
		{"non-blocking", true, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := boxedScript(t)
			s.listener(s.b, "0.0.0.0:7000")
			release := s.hold()
			k := s.tcp(s.a)
			if err := unix.SetNonblock(k.fd, tc.nonblocking); err != nil {
				t.Fatal(err)
			}
			to := encode(unix.AF_INET, s.parse("B:7000"))
			_, addr := s.a.mem.take(len(to), to)
			_, text := s.a.mem.take(5, []byte("early"))
			r := s.a.start(k.thread, unix.SYS_SENDTO, k.fdArg(), text, 5,
				unix.MSG_FASTOPEN|tc.flags, addr, uintptr(len(to)))
			<-s.net.dialled
			flags, err := unix.FcntlInt(uintptr(k.fd), unix.F_GETFL, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := flags&unix.O_NONBLOCK != 0; got != tc.nonblocking {
				t.Errorf("while it waits O_NONBLOCK is %v, want %v", got, tc.nonblocking)
			}
			if tc.waits {
				release()
			} else {
				defer release()
			}
			size, errno := r.wait(t)
			switch {
			case tc.waits && (errno != 0 || size != 5):
				t.Errorf("sent %d, %v; want 5", size, errno)
			case !tc.waits && errno != unix.EINPROGRESS:
				t.Errorf("%v, want EINPROGRESS", errno)
			}
		})
	}
}
