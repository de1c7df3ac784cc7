package strace

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzDecode shows calls with any arguments and any memory: a program can pass what it
// likes, and nothing of it may make boxer panic or write more than a line.
func FuzzDecode(f *testing.F) {
	f.Add("connect", uint64(3), uint64(0x1000), uint64(16), uint64(0),
		[]byte("\x02\x00\x00\x50\x0a\x6f\x00\x02\x00\x00\x00\x00\x00\x00\x00\x00"),
		uint8(1))
	f.Add("recvmsg", uint64(3), uint64(0x1000), uint64(0), uint64(0), make([]byte, 128),
		uint8(1))
	f.Add("sendmmsg", uint64(3), uint64(0x1000), uint64(7), uint64(0),
		slices.Repeat([]byte{0x00, 0x10}, 200), uint8(1))
	f.Add("execve", uint64(0x1000), uint64(0x1008), uint64(0x1010), uint64(0),
		[]byte("/bin/ls\x00\x00\x10\x00\x00\x00\x00\x00\x00\x00"), uint8(3))
	f.Add("getsockopt", uint64(3), uint64(1), uint64(13), uint64(0x1000),
		make([]byte, 32), uint8(1))
	f.Fuzz(func(t *testing.T, name string, a, b, c, d uint64, memory []byte, outcome uint8) {
		sig := signaturesByName()[name]
		if sig == nil {
			return
		}
		r := &Syscall{Outcome: Outcome(outcome % 5), Value: int64(c)}
		r.Begin(sig, [6]uint64{a, b, c, d, 0x1010, 0x1020}, 16)
		r.NoteMemory(0x1000, memory, false)
		r.NoteMemory(0x1000+uintptr(len(memory)/2), memory[:len(memory)/2], true)
		shown := r.Decode(16)
		if shown.Name != name || strings.ContainsAny(strings.Join(shown.Args, ""),
			"\n\x1b") {
			t.Errorf("%s is shown as %q %q", name, shown.Name, shown.Args)
		}
	})
}

// TestParseSelection reads what -e takes.
func TestParseSelection(t *testing.T) {
	all := map[string]uintptr{"openat": unix.SYS_OPENAT, "connect": unix.SYS_CONNECT,
		"socket": unix.SYS_SOCKET, "execve": unix.SYS_EXECVE, "sendto": unix.SYS_SENDTO}
	for _, tc := range []struct {
		text          string
		with, without []uintptr
		watches       bool
		wrong         string
	}{
		{text: "network", with: []uintptr{unix.SYS_CONNECT, unix.SYS_SENDTO},
			without: []uintptr{unix.SYS_OPENAT}},
		{text: "connections", with: []uintptr{unix.SYS_CONNECT},
			without: []uintptr{unix.SYS_SENDTO}},
		{text: "trace=%file", with: []uintptr{unix.SYS_OPENAT, unix.SYS_EXECVE},
			without: []uintptr{unix.SYS_CONNECT}, watches: true},
		{text: "connect,openat", with: []uintptr{unix.SYS_CONNECT, unix.SYS_OPENAT},
			without: []uintptr{unix.SYS_SOCKET}, watches: true},
		{text: "!connect", with: []uintptr{unix.SYS_SOCKET, unix.SYS_OPENAT},
			without: []uintptr{unix.SYS_CONNECT}, watches: true},
		{text: "none", without: []uintptr{unix.SYS_CONNECT}},
		{text: "konnect", wrong: `"konnect"`},
	} {
		sel, err := ParseSelection(tc.text, all)
		if tc.wrong != "" {
			if err == nil || !strings.Contains(err.Error(), tc.wrong) {
				t.Errorf("%q: error %v, want one with %s", tc.text, err, tc.wrong)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tc.text, err)
		}
		for _, nr := range tc.with {
			if !slices.Contains(sel.Calls, nr) {
				t.Errorf("%q lacks call %d", tc.text, nr)
			}
		}
		for _, nr := range tc.without {
			if slices.Contains(sel.Calls, nr) {
				t.Errorf("%q has call %d", tc.text, nr)
			}
		}
		if sel.Watches() != tc.watches {
			t.Errorf("%q watches: %v", tc.text, sel.Watches())
		}
	}
}

// TestSignalNames has the names that strace(1) writes.
func TestSignalNames(t *testing.T) {
	for nr, want := range map[uint64]string{0: "0", 9: "SIGKILL", 32: "SIGRT_0",
		34: "SIGRT_2", 64: "SIGRT_32", 65: "0x41 /* SIG??? */"} {
		if got := string(signals.value(nil, nr)); got != want {
			t.Errorf("signal %d is %s, want %s", nr, got, want)
		}
	}
}
