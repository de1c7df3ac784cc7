package syscalls

import (
	"errors"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// testDiag returns a sockDiag, or skips the test where the kernel has none.
func testDiag(t *testing.T) *sockDiag {
	t.Helper()
	d, err := newSockDiag()
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(d.close)
	return d
}

func TestSockDiag(t *testing.T) {
	d := testDiag(t)
	fd, at := listenAt(t, 4)
	defer unix.Close(fd)
	id, err := cookie(fd)
	if err != nil {
		t.Fatal(err)
	}
	if m, found, err := d.listener(at); err != nil || !found || m.cookie != id ||
		m.addr != at {
		t.Errorf("the listener: %+v, %t, %v", m, found, err)
	}
	client, own := connecting(t, at)
	if id, err = cookie(client); err != nil {
		t.Fatal(err)
	}
	if m, found, err := d.connection(own, at); err != nil || !found || m.cookie != id ||
		m.state != tcpEstablished {
		t.Errorf("the connection: %+v, %t, %v", m, found, err)
	}
	free := netip.AddrPortFrom(at.Addr(), 1)
	if _, found, err := d.listener(free); err != nil || found {
		t.Errorf("where nobody is: %t, %v", found, err)
	}
}

// TestSockDiagFails holds that a question which could not be asked has an error, and is
// not answered with "nobody".
func TestSockDiagFails(t *testing.T) {
	at := netip.AddrPortFrom(localhost4, 80)
	var none *sockDiag
	if _, found, err := none.listener(at); found || !errors.Is(err, unix.EOPNOTSUPP) {
		t.Errorf("without sock_diag: %t, %v", found, err)
	}
	d := testDiag(t)
	d.close()
	if _, found, err := d.listener(at); found || !errors.Is(err, unix.EBADF) {
		t.Errorf("after close: %t, %v", found, err)
	}
}

func BenchmarkSockDiag(b *testing.B) {
	d, err := newSockDiag()
	if err != nil {
		b.Skip(err)
	}
	defer d.close()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	for b.Loop() {
		if _, found, err := d.listener(at); !found || err != nil {
			b.Fatal(found, err)
		}
	}
}
