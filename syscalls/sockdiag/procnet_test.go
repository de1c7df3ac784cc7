package sockdiag

import (
	"net/netip"
	"os"
	"testing"
)

// TestListUnchanged reads the machine's own lists, which a view that changes nothing
// leaves as they are.
func TestListUnchanged(t *testing.T) {
	same := func(s Socket) (Socket, bool) { return s, true }
	for name, kind := range Lists {
		b, err := os.ReadFile("/proc/self/net/" + name)
		if err != nil {
			t.Logf("%s: %v", name, err)
			continue
		}
		got := List(string(b), kind, same)
		if got != string(b) {
			t.Errorf("%s: got\n%swant\n%s", name, got, b)
		}
	}
}

func TestList(t *testing.T) {
	const list = "  sl  local_address rem_address   st ... inode\n" +
		"   0: 00407F7F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1\n" +
		"   1: 0100007F:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 22 1\n" +
		"nonsense\n" +
		"   3: 0100007F:ZZZZ 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 23 1\n" +
		"   4: 01407F7F:0050 02407F7F:0051 01 00000000:00000000 00:00000000 00000000     0        0 24 1\n"
	view := func(s Socket) (Socket, bool) {
		switch s.Inode {
		case 21:
			if !s.Listens || s.Local.String() != "127.127.64.0:8080" {
				t.Errorf("got %+v", s)
			}
			s.Local = netip.MustParseAddrPort("0.0.0.0:8080")
		case 22:
			return s, false
		case 24:
			if s.Listens {
				t.Error("a connection counts as a listener")
			}
			s.Local = netip.MustParseAddrPort("10.111.0.2:80")
			s.Remote = netip.MustParseAddrPort("10.111.0.3:81")
		}
		return s, true
	}
	const want = "  sl  local_address rem_address   st ... inode\n" +
		"   0: 00000000:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 21 1\n" +
		"   1: 02006F0A:0050 03006F0A:0051 01 00000000:00000000 00:00000000 00000000     0        0 24 1\n"
	if got := List(list, Lists["tcp"], view); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func FuzzList(f *testing.F) {
	f.Add("head\n   0: 00407F7F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 21 1\n")
	f.Fuzz(func(t *testing.T, list string) {
		for _, kind := range Lists {
			List(list, kind, fakeView)
		}
	})
}
