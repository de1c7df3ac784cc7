package linux

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseRights(t *testing.T) {
	cred := unix.UnixCredentials(&unix.Ucred{Pid: 7, Uid: 8, Gid: 9})
	both := slices.Concat(cred, unix.UnixRights(3, 4))
	broken := slices.Concat(unix.UnixRights(3), cred)
	broken = broken[:len(broken)-8]
	for _, tc := range []struct {
		name string
		in   []byte
		fds  []int
		pid  int32
	}{
		{"nothing", nil, nil, 0},
		{"descriptors", unix.UnixRights(5), []int{5}, 0},
		{"a sender", cred, nil, 7},
		{"both", both, []int{3, 4}, 7},
		{"cut short after descriptors", broken, []int{3}, 0},
		{"not a message", make([]byte, 16), nil, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			fds, from := ParseRights(tc.in)
			var pid int32
			if from != nil {
				pid = from.Pid
			}
			if !slices.Equal(fds, tc.fds) || pid != tc.pid {
				t.Errorf("%v of %d, want %v of %d", fds, pid, tc.fds, tc.pid)
			}
		})
	}
}

func FuzzParseRights(f *testing.F) {
	f.Add(unix.UnixRights(3, 4))
	f.Add(unix.UnixCredentials(&unix.Ucred{Pid: 7}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, oob []byte) {
		if fds, _ := ParseRights(oob); 4*len(fds) > len(oob) {
			t.Errorf("%d descriptors in %d bytes", len(fds), len(oob))
		}
	})
}

func TestVersion(t *testing.T) {
	for _, tc := range []struct {
		release string
		want    Version
		ok      bool
	}{
		{"6.1.0-18-amd64", Version{6, 1}, true},
		{"5.10", Version{5, 10}, true},
		{"unknown", Version{}, false},
		{"", Version{}, false},
	} {
		if got, ok := ParseVersion(tc.release); got != tc.want || ok != tc.ok {
			t.Errorf("%q: %v, %t", tc.release, got, ok)
		}
	}
	if !(Version{5, 14}).Before(Version{6, 1}) || (Version{5, 14}).Before(Version{5, 14}) ||
		(Version{5, 14}).Before(Version{5, 9}) {
		t.Error("Before does not order by major, then minor")
	}
	if _, ok := ParseVersion(Release()); !ok {
		t.Errorf("the kernel's release is %q", Release())
	}
}
