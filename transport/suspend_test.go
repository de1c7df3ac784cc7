package transport

import (
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestSocketSuspend sends before, during and after a suspension: what was sent during it
// does not arrive.
func TestSocketSuspend(t *testing.T) {
	s, err := Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	to, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	to.SetReadDeadline(time.Now().Add(10 * time.Second))
	send := func(text string) {
		t.Helper()
		if err := s.WriteTo([]byte(text), to.LocalAddr().(*net.UDPAddr).AddrPort()); err != nil {
			t.Error(err)
		}
	}
	send("before")
	s.Suspend()
	send("during")
	s.Resume()
	send("after")
	for _, want := range []string{"before", "after"} {
		b := make([]byte, 99)
		n, err := to.Read(b)
		if err != nil || string(b[:n]) != want {
			t.Errorf("got %q, %v; want %q", b[:n], err, want)
		}
	}
}
