package syscalls

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/stream"
)

// A fakeResolver answers every query with "re: " and the query, over UDP and TCP, in
// place of the servers that it serves. Of what is for others it answers what begins with
// "own". It implements Resolver.
type fakeResolver struct {
	t      testing.TB
	at     netip.Addr
	fail   bool
	others []netip.Addr // that it does not serve

	mu    sync.Mutex
	asked []netip.AddrPort // the name servers
}

func (r *fakeResolver) Serves(server netip.Addr) bool { return !slices.Contains(r.others, server) }

func (r *fakeResolver) Answered(Asker, []byte) {}

func (r *fakeResolver) Own(_ Asker, query []byte) []byte {
	if !bytes.HasPrefix(query, []byte("own")) {
		return nil
	}
	return append([]byte("re: "), query...)
}

func (r *fakeResolver) Dial(ctx context.Context, by Asker) (Stream, error) {
	server := by.Server
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp", server.String())
	if err != nil {
		return nil, err
	}
	return stream.NewTCP(c.(*net.TCPConn))
}

func (r *fakeResolver) Proxy(server netip.AddrPort) (netip.AddrPort, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, server)
	if r.fail {
		return netip.AddrPort{}, errors.New("no proxy today")
	}
	u, l, err := listenBoth(r.at)
	for tries := 1; errors.Is(err, unix.EADDRINUSE) && tries < 10; tries++ {
		u, l, err = listenBoth(r.at)
	}
	if err != nil {
		return netip.AddrPort{}, err
	}
	addr := u.LocalAddr().(*net.UDPAddr).AddrPort()
	var tasks sync.WaitGroup
	tasks.Go(func() {
		b := make([]byte, 4096)
		for {
			n, from, err := u.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			u.WriteToUDPAddrPort(append([]byte("re: "), b[:n]...), from)
		}
	})
	tasks.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			b := make([]byte, 4096)
			n, _ := c.Read(b)
			c.Write(append([]byte("re: "), b[:n]...))
			c.Close()
		}
	})
	r.t.Cleanup(func() {
		u.Close()
		l.Close()
		tasks.Wait()
	})
	return addr, nil
}

// listenBoth listens at a UDP port that the kernel chooses, and at that of TCP: which a
// connection may have.
func listenBoth(at netip.Addr) (*net.UDPConn, *net.TCPListener, error) {
	u, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(at, 0)))
	if err != nil {
		return nil, nil, err
	}
	l, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(u.LocalAddr().(*net.UDPAddr).AddrPort()))
	if err != nil {
		u.Close()
		return nil, nil, err
	}
	return u, l, nil
}

// servers are name servers that programs ask; the second is where systemd-resolved
// listens.
var servers = []string{"198.51.100.53:53", "127.0.0.53:53", "127.0.0.1:53",
	"[::ffff:198.51.100.53]:53", "[2001:db8::53]:53"}

// resolving is a script on a node with a resolver.
func resolving(t *testing.T) (*script, *fakeResolver) {
	t.Helper()
	s := boxedScript(t)
	r := &fakeResolver{t: t, at: s.a.node.Aliases.Relay}
	s.a.node.Resolver = r
	return s, r
}

func udpFor(s *script, addr string) *sock {
	if addr[0] == '[' {
		return s.open(s.a, unix.AF_INET6, unix.SOCK_DGRAM)
	}
	return s.open(s.a, unix.AF_INET, unix.SOCK_DGRAM)
}

func (k *sock) sendTo(text, addr string, flags int) {
	k.s.t.Helper()
	to := encode(k.domain, k.s.parse(addr))
	_, ap := k.m.mem.take(len(to), to)
	_, p := k.m.mem.take(len(text), []byte(text))
	n, errno := k.call(unix.SYS_SENDTO, k.fdArg(), p, uintptr(len(text)), uintptr(flags),
		ap, uintptr(len(to)))
	k.printf("sendto %s: %s, %d", addr, failed(errno), int(n))
}

// recvFrom starts recvfrom; the returned function waits for it.
func (k *sock) recvFrom(room, flags int) func() {
	b, p := k.m.mem.take(room, nil)
	from, ap := k.m.mem.take(abi.SizeofSockaddrStorage, nil)
	size, sp := k.m.mem.take(4, binary.NativeEndian.AppendUint32(nil, abi.SizeofSockaddrStorage))
	r := k.m.start(k.thread, unix.SYS_RECVFROM, k.fdArg(), p, uintptr(room),
		uintptr(flags), ap, sp)
	return func() {
		k.s.t.Helper()
		n, errno := r.wait(k.s.t)
		if errno != 0 {
			k.printf("recvfrom: %s", failed(errno))
			return
		}
		k.printf("recvfrom: %d bytes %q from %s", n, b[:min(int(n), room)],
			k.s.decode(from[:binary.NativeEndian.Uint32(size)]))
	}
}

// TestResolver asks name servers in the ways that resolvers do.
func TestResolver(t *testing.T) {
	for _, server := range servers {
		t.Run(server, func(t *testing.T) {
			s, r := resolving(t)
			connected := udpFor(s, server)
			connected.connect(server)
			connected.peername()
			connected.write("one")
			connected.readable()
			connected.recvFrom(64, 0)()
			connected.sendTo("two", server, unix.MSG_NOSIGNAL)
			connected.recvFrom(64, 0)()
			unconnected := udpFor(s, server)
			wait := unconnected.recvFrom(64, 0) // blocks
			other := &sock{s: s, m: s.a, fd: unconnected.fd, domain: unconnected.domain,
				name: unconnected.name, thread: s.thread()}
			other.sendTo("three", server, 0)
			wait()
			unconnected.recvFrom(64, unix.MSG_DONTWAIT)()
			tcp := s.tcpFor(s.a, server)
			tcp.connect(server)
			tcp.peername()
			tcp.write("four")
			tcp.read()
			want := []string{"s1 connect {}: ok", "s1 getpeername: {}", `s1 write "one": ok`, `s1 recvfrom: 7 bytes "re: one" from {}`,
				"s1 sendto {}: ok, 3", `s1 recvfrom: 7 bytes "re: two" from {}`, "s2 sendto {}: ok, 5",
				`s2 recvfrom: 9 bytes "re: three" from {}`, "s2 recvfrom: EAGAIN",
				"s3 connect {}: ok", "s3 getpeername: {}", `s3 write "four": ok`, `s3 read "re: four"`}
			for i := range want {
				want[i] = strings.ReplaceAll(want[i], "{}", server)
			}
			if diff := sideBySide(want, s.lines); diff != "" {
				t.Error(diff)
			}
			if len(r.asked) != 1 {
				t.Errorf("%d proxies for one server: %v", len(r.asked), r.asked)
			}
		})
	}
}

// TestResolverEdges is about queries and answers that do not fit.
func TestResolverEdges(t *testing.T) {
	const server = "198.51.100.53:53"
	s, _ := resolving(t)
	k := udpFor(s, server)
	k.sendTo("a long question", server, 0)
	k.recvFrom(6, 0)() // what does not fit is lost
	k.sendTo("again", server, 0)
	k.recvFrom(6, unix.MSG_TRUNC)()
	k.sendTo("peek", server, 0)
	k.readable()
	k.recvFrom(64, unix.MSG_PEEK)()
	k.recvFrom(64, 0)()
	k.sendTo("", server, 0)
	k.recvFrom(64, 0)()
	k.sendTo(string(bytes.Repeat([]byte("x"), 65508)), server, 0)
	k.setTimeout(unix.SO_RCVTIMEO, 20)
	k.recvFrom(64, 0)()
	want := []string{"s1 sendto {}: ok, 15", `s1 recvfrom: 6 bytes "re: a " from {}`,
		"s1 sendto {}: ok, 5", `s1 recvfrom: 9 bytes "re: ag" from {}`,
		"s1 sendto {}: ok, 4", `s1 recvfrom: 8 bytes "re: peek" from {}`, `s1 recvfrom: 8 bytes "re: peek" from {}`,
		"s1 sendto {}: ok, 0", `s1 recvfrom: 4 bytes "re: " from {}`,
		"s1 sendto {}: EMSGSIZE, -1", "s1 recvfrom: EAGAIN"}
	for i := range want {
		want[i] = strings.ReplaceAll(want[i], "{}", server)
	}
	if diff := sideBySide(want, s.lines); diff != "" {
		t.Error(diff)
	}

	to, from := encode(unix.AF_INET, s.parse(server)), k.fdArg()
	_, good := s.a.mem.take(64, to)
	for name, args := range map[string][6]uintptr{
		"wild data":        {from, 16, 4, 0, good, 16},
		"wild address":     {from, good, 4, 0, 16, 16},
		"a size of 2^63":   {from, good, 1 << 63, 0, good, 16},
		"a bad descriptor": {9999, good, 4, 0, good, 16},
	} {
		want := map[string]unix.Errno{"wild data": unix.EFAULT,
			"wild address": unix.EFAULT, "a size of 2^63": unix.EMSGSIZE,
			"a bad descriptor": unix.EBADF}[name]
		if _, errno := k.call(unix.SYS_SENDTO, args[:]...); errno != want {
			t.Errorf("sendto with %s: %v, want %v", name, errno, want)
		}
	}
}

// TestResolverNotAsked is about what looks like a query and is none.
func TestResolverNotAsked(t *testing.T) {
	s, r := resolving(t)
	l := s.listener(s.b, "0.0.0.0:53")
	k := s.tcp(s.a) // a node's own port
	k.connect("B:53")
	talk(k, l.accept(0))
	own := s.listener(s.a, "127.0.0.1:53") // the program is a name server itself
	k = s.tcp(s.a)
	k.connect("127.0.0.1:53")
	talk(k, own.accept(0))
	server := udpFor(s, "127.0.0.1:53")
	server.bind("127.0.0.1:53")
	udp := udpFor(s, "127.0.0.1:53")
	udp.sendTo("to the program", "127.0.0.1:53", 0)
	server.readable()
	server.read()
	udp = udpFor(s, "127.0.0.1:54")
	udp.connect("127.0.0.1:54")
	udp.peername()
	if len(r.asked) > 0 || s.lines[len(s.lines)-3] != fmt.Sprintf("%s read \"to the program\"", server.name) {
		t.Errorf("the resolver is asked in place of %v: %v", r.asked, s.lines)
	}
}

// TestResolverBesideListener has a program that is a name server itself: what others ask
// of the servers of resolv.conf is the resolver's still, and when the program has closed
// its sockets, so is what they ask of localhost.
func TestResolverBesideListener(t *testing.T) {
	for _, at := range []string{"0.0.0.0:53", "127.0.0.1:53", "[::]:53"} {
		t.Run(at, func(t *testing.T) {
			s, r := resolving(t)
			tcp := s.tcpFor(s.a, at)
			tcp.bind(at)
			tcp.listen(1)
			udp := udpFor(s, at)
			udp.bind(at)
			ask := func(server string) {
				k := udpFor(s, server)
				k.sendTo("who", server, 0)
				k.recvFrom(64, 0)()
				k.shut()
				c := s.tcpFor(s.a, server)
				c.connect(server)
				c.write("what")
				c.read()
				c.shut()
			}
			s.lines = nil
			ask("198.51.100.53:53")
			ask("127.0.0.53:53")
			if len(r.asked) != 2 {
				t.Errorf("asked: %v", r.asked)
			}
			tcp.shut()
			udp.shut()
			ask("127.0.0.1:53")
			if n := strings.Count(strings.Join(s.lines, "\n"), `"re: who"`); n != 3 {
				t.Errorf("%d answers over UDP: %v", n, s.lines)
			}
			if n := strings.Count(strings.Join(s.lines, "\n"), `"re: what"`); n != 3 {
				t.Errorf("%d answers over TCP: %v", n, s.lines)
			}
		})
	}
}

// TestResolverFails leaves the question to the host's network. There is a bound on
// proxies.
func TestResolverFails(t *testing.T) {
	s, r := resolving(t)
	r.fail = true
	k := udpFor(s, "127.0.0.1:53")
	k.connect("127.0.0.1:53")
	k.peername()
	if diff := sideBySide([]string{"s1 connect 127.0.0.1:53: ok",
		"s1 getpeername: 127.0.0.1:53"}, s.lines); diff != "" {
		t.Error(diff)
	}
	r.fail = false
	for i := range 2 * maxNameServers {
		k := udpFor(s, "127")
		k.connect(fmt.Sprintf("127.0.%d.53:53", i))
		k.shut()
	}
	if n := len(s.a.node.dns.proxies); n != maxNameServers {
		t.Errorf("%d proxies, want %d", n, maxNameServers)
	}
}
