package syscalls

import (
	"net/netip"
	"testing"

	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// sunk is Datagrams that go nowhere.
type sunk struct{ sent chan int }

func (s sunk) SendDatagram(_, _ netip.AddrPort, _ stream.IPFields, b []byte) bool {
	s.sent <- len(b)
	return true
}
func (s sunk) SendUnreachable(_, _ netip.AddrPort, _ []byte) {}
func (s sunk) SendEcho(_, _ netip.AddrPort, _ stream.IPFields, _ []byte) bool {
	return true
}

// BenchmarkSendto measures sendto(2) with an address, from its arrival until the network
// has the datagram, without the trap itself.
func BenchmarkSendto(b *testing.B) {
	aliases, err := ClaimAliases()
	if err != nil {
		b.Fatal(err)
	}
	defer aliases.Release()
	net := sunk{make(chan int, 1)}
	n, err := NewNode(Config{Hostname: "a", Addr: addrA, Prefix: prefix, Aliases: aliases,
		Network: newFakeNet(), Datagrams: net})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer unix.Close(fd)
	mem := newMemory(b)
	to := abi.AppendSockaddr(nil, abi.Sockaddr{Addr: netip.AddrPortFrom(addrB, 7000)})
	_, addr := mem.take(len(to), to)
	_, payload := mem.take(1200, nil)
	b.ReportAllocs()
	for b.Loop() {
		c := newFakeCall(b, 1, unix.SYS_SENDTO, uintptr(fd), payload, 1200, 0, addr,
			uintptr(len(to)))
		n.Answer(c)
		if a := <-c.answer; a.errno != 0 || a.value != 1200 {
			b.Fatalf("sendto: %+v", a)
		}
		if got := <-net.sent; got != 1200 {
			b.Fatalf("%d bytes were sent", got)
		}
	}
}
