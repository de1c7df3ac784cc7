package syscalls

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// diag makes a message of sock_diag(7).
func diag(family byte, source []byte, port uint16, state byte, waiting,
	backlog uint32) []byte {
	b := make([]byte, diagMsgSize)
	binary.NativeEndian.PutUint32(b, uint32(len(b)))
	binary.NativeEndian.PutUint16(b[4:], sockDiagByFamily)
	b[diagFamily], b[diagState] = family, state
	binary.BigEndian.PutUint16(b[diagSport:], port)
	copy(b[diagSource:], source)
	binary.NativeEndian.PutUint32(b[diagRqueue:], waiting)
	binary.NativeEndian.PutUint32(b[diagWqueue:], backlog)
	return b
}

func TestParseDiag(t *testing.T) {
	at := netip.MustParseAddrPort("127.64.0.8:80")
	mapped := netip.AddrFrom16(at.Addr().As16())
	for _, tc := range []struct {
		name string
		in   []byte
		want diagMessage
		ok   bool
	}{
		{"IPv4", diag(unix.AF_INET, at.Addr().AsSlice(), 80, tcpListen, 3, 128),
			diagMessage{at, 0, tcpListen, 3, 128}, true},
		{"mapped", diag(unix.AF_INET6, mapped.AsSlice(), 80, tcpClose, 0, 0),
			diagMessage{at, 0, tcpClose, 0, 0}, true},
		{"other family", diag(unix.AF_UNIX, nil, 0, 0, 0, 0), diagMessage{}, false},
		{"cut short", diag(unix.AF_INET, nil, 0, 0, 0, 0)[:diagMsgSize-1], diagMessage{}, false},
		{"empty", nil, diagMessage{}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got, ok := parseDiag(tc.in); got != tc.want || ok != tc.ok {
				t.Errorf("got %+v, %v; want %+v, %v", got, ok, tc.want, tc.ok)
			}
		})
	}
}

// listenAt makes a listener of the test's own on loopback.
func listenAt(t *testing.T, backlog int) (fd int, at netip.AddrPort) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if at, err = bindAny(fd, localhost4); err == nil {
		err = unix.Listen(fd, backlog)
	}
	if err != nil {
		unix.Close(fd)
		t.Fatal(err)
	}
	return fd, at
}

func TestBacklogRoom(t *testing.T) {
	n := &Node{diag: testDiag(t)}
	fd, at := listenAt(t, 4)
	for want := 5; want >= 0; want-- {
		if got := n.backlogRoom(at); got != want {
			t.Errorf("room for %d, want %d", got, want)
		}
		if want == 0 {
			break
		}
		c, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(c)
		if err := unix.Connect(c, kernelSockaddr(unix.AF_INET, at)); err != nil {
			t.Fatal(err)
		}
	}
	unix.Close(fd)
	if got := n.backlogRoom(at); got != 0 {
		t.Errorf("room for %d where nobody listens", got)
	}
}

func TestClosings(t *testing.T) {
	c, err := newListenerClosings()
	if err != nil {
		t.Skip(err)
	}
	stop := time.AfterFunc(10*time.Second, func() { c.close() })
	defer stop.Stop()
	fd, at := listenAt(t, 4)
	want, err := cookie(fd)
	if err != nil {
		t.Fatal(err)
	}
	copied, err := unix.Dup(fd)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd) // not the last reference
	other, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Connect(other, kernelSockaddr(unix.AF_INET, at)); err != nil {
		t.Fatal(err)
	}
	unix.Close(other) // connected: not told
	unix.Close(copied)
	for {
		got, err := c.next()
		if err != nil {
			t.Fatal(err)
		}
		if got == want {
			break // others of the host may have been before
		}
	}
	c.close()
	if _, err := c.next(); err == nil {
		t.Error("no error after close")
	}
}
