package transport

import (
	"bytes"
	"errors"
	"fmt"
	"log"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

func listen(t testing.TB) *Socket {
	t.Helper()
	s, err := Listen(loopback())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.conn.Close() })
	return s
}

// pc returns the Socket as QUIC has it.
func (s *Socket) pc() *packetConn { return s.quic.Conn.(*packetConn) }

// receive reads n packets as quic-go does.
func (s *Socket) receive(t testing.TB, n int) (packets []string, from []net.Addr) {
	t.Helper()
	s.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for len(packets) < n {
		ms := messages(8)
		got, err := s.pc().ReadBatch(ms, 0)
		if err != nil || got == 0 {
			t.Fatalf("%d packets of %d, then %v", len(packets), n, err)
		}
		for _, m := range ms[:got] {
			packets = append(packets, string(m.Buffers[0][:m.N]))
			from = append(from, m.Addr)
		}
	}
	return packets, from
}

func messages(n int) []ipv4.Message {
	ms := make([]ipv4.Message, n)
	for i := range ms {
		ms[i] = ipv4.Message{Buffers: [][]byte{make([]byte, maxQUICPacket)},
			OOB: make([]byte, controlSize)}
	}
	return ms
}

// segmented is the control message that makes the kernel cut a send (udp(7)).
func segmented(size uint16) []byte {
	oob := make([]byte, unix.CmsgSpace(2))
	// struct cmsghdr: length, level, type.
	copy(oob, unixCmsg(unix.CmsgLen(2), unix.IPPROTO_UDP, unix.UDP_SEGMENT))
	setSegmentSize(oob, size)
	return oob
}

func quicLike(i, size int) []byte {
	b := bytes.Repeat([]byte{byte(i)}, size)
	b[0] = 0x40 // a short header
	return b
}

// A coalesced datagram is cut into its packets, and what is not for QUIC is
// sorted out on the way.
func TestReceiveSorts(t *testing.T) {
	s, peer := listen(t), listen(t)
	var stuns, frames []string
	s.attach(&attachment{server: netip.MustParseAddrPort("192.0.2.1:1"),
		stun: func(b []byte, from netip.AddrPort, relayed relaySource) {
			stuns = append(stuns, fmt.Sprint(len(b), " ", from, " ", relayed))
		}})
	s.HandleRelay(func(frame []byte, from netip.AddrPort) {
		frames = append(frames,
			fmt.Sprint(len(frame), " ", from))
	})
	const size = 60
	var all, want []byte
	add := func(b []byte, quic bool) {
		b = append(b, make([]byte, size-len(b))...)
		all = append(all, b...)
		if quic {
			want = append(want, b...)
		}
	}
	for i := range 12 {
		add(quicLike(i, size), true)
		switch i {
		case 3:
			add(newBinding(transactionID{1}), false)
		case 7:
			add(AppendRelayHeader(nil, 5), false)
		case 9:
			add([]byte{0x3f, 1, 2, 3}, false)          // of no protocol of ours
			add([]byte{0, 1, 0, 0, 1, 2, 3, 4}, false) // STUN without the cookie
		}
	}
	all = append(all, quicLike(99, 20)...) // the last one is shorter
	want = append(want, quicLike(99, 20)...)
	if _, _, err := peer.conn.WriteMsgUDPAddrPort(all, segmented(size),
		s.LocalAddr()); err != nil {
		t.Fatal(err)
	}
	packets, from := s.receive(t, 13)
	if got := strings.Join(packets, ""); got != string(want) {
		t.Errorf("got %x, want %x", got, want)
	}
	for _, a := range from {
		if a.String() != peer.LocalAddr().String() {
			t.Errorf("from %v, want %v", a, peer.LocalAddr())
		}
	}
	if want := []string{fmt.Sprint(size, " ", peer.LocalAddr(),
		" {0 false}")}; !slices.Equal(stuns, want) {
		t.Errorf("STUN %v, want %v", stuns, want)
	}
	if want := []string{fmt.Sprint(size, " ", peer.LocalAddr())}; !slices.Equal(frames, want) {
		t.Errorf("relay frames %v, want %v", frames, want)
	}
}

// What QUIC could not take is dropped, not cut.
func TestReceiveDropsOversized(t *testing.T) {
	s, peer := listen(t), listen(t)
	peer.WriteTo(quicLike(1, maxQUICPacket+1), s.LocalAddr())
	peer.WriteTo(nil, s.LocalAddr())
	peer.WriteTo(quicLike(2, maxQUICPacket), s.LocalAddr())
	packets, _ := s.receive(t, 1)
	if packets[0] != string(quicLike(2, maxQUICPacket)) {
		t.Error("got the wrong packet")
	}
}

// Packets of a known peer come from its fake address, whatever way they came.
func TestReceiveNamesPeers(t *testing.T) {
	s, peer, relay, other := listen(t), listen(t), listen(t), listen(t)
	r := s.addRoute(0x01020304, func() {})
	s.addSource(peer.LocalAddr(), r)
	s.attach(&attachment{server: relay.LocalAddr(),
		stun: func([]byte, netip.AddrPort, relaySource) {}})
	frame := append(AppendRelayHeader(nil, r.id), quicLike(2, 40)...)
	for _, send := range []struct {
		from *Socket
		b    []byte
	}{
		{peer, quicLike(1, 40)},
		{other, frame}, // anybody could say that
		{relay, append(AppendRelayHeader(nil, 77), quicLike(9, 40)...)}, // no route
		{relay, frame},
		{other, quicLike(3, 40)},
	} {
		send.from.WriteTo(send.b, s.LocalAddr())
		// keep the order, which no protocol promises across sockets
		time.Sleep(time.Millisecond)
	}
	packets, from := s.receive(t, 3)
	for i, want := range []string{fakeAddr(r.id).String(), fakeAddr(r.id).String(),
		other.LocalAddr().String()} {
		if from[i].String() != want || packets[i] != string(quicLike(i+1, 40)) {
			t.Errorf("packet %d: %x from %v, want it from %v", i, packets[i], from[i], want)
		}
	}
	if r.received.Load() != 2 || r.bytesReceived.Load() != 80 {
		t.Errorf("counted %d packets, %d bytes; want 2, 80", r.received.Load(),
			r.bytesReceived.Load())
	}
	s.removeRoute(r)
	peer.WriteTo(quicLike(4, 40), s.LocalAddr())
	if _, from := s.receive(t, 1); from[0].String() != peer.LocalAddr().String() {
		t.Errorf("after removeRoute: from %v", from[0])
	}
}

func TestSendTakesThePath(t *testing.T) {
	s, peer, relay := listen(t), listen(t), listen(t)
	woken := 0
	r := s.addRoute(7, func() { woken++ })
	send := func(b, oob []byte) (int, error) {
		n, _, err := s.pc().WriteMsgUDP(b, oob, fakeAddr(7))
		return n, err
	}
	batch := bytes.Repeat(quicLike(1, 100), 20)[:1950]
	if n, err := send(batch, segmented(100)); n != len(batch) || err != nil {
		t.Errorf("without a path: %d, %v; want it lost", n, err)
	}
	r.path.Store(&path{to: peer.LocalAddr()})
	if n, err := send(batch, segmented(100)); n != len(batch) || err != nil {
		t.Fatal(n, err)
	}
	packets, _ := peer.receive(t, 20)
	if strings.Join(packets, "") != string(batch) || len(packets[0]) != 100 {
		t.Errorf("direct: got %d packets, the first of %d bytes", len(packets),
			len(packets[0]))
	}

	r.path.Store(&path{to: relay.LocalAddr(), relay: true})
	var got []byte
	frames := 0
	relay.HandleRelay(func(frame []byte, _ netip.AddrPort) {
		id, packet, err := ParseRelayFrame(frame)
		if id != 7 || err != nil {
			t.Errorf("frame to %d, %v", id, err)
		}
		got = append(got, packet...)
		frames++
	})
	oob := segmented(100)
	if n, err := send(batch, oob); n != len(batch) || err != nil {
		t.Fatal(n, err)
	}
	if segmentSize(oob) != 100 {
		t.Error("the caller's control message was changed")
	}
	if _, err := send(quicLike(2, 50), nil); err != nil {
		t.Fatal(err)
	}
	s.WriteTo(quicLike(3, 10), relay.LocalAddr()) // tells the reader that all are there
	relay.receive(t, 1)
	if want := append(bytes.Clone(batch), quicLike(2, 50)...); frames != 21 ||
		!bytes.Equal(got, want) {
		t.Errorf("relayed: %d frames, %d bytes; want 21, %d", frames, len(got), len(want))
	}

	if woken != 0 {
		t.Error("the owner was woken while awake")
	}
	r.asleep.Store(true)
	send(quicLike(4, 10), nil)
	send(quicLike(5, 10), nil)
	if woken != 1 {
		t.Errorf("the owner was woken %d times, want once", woken)
	}
	if r.sent.Load() != 6 {
		t.Errorf("%d calls counted, want 6", r.sent.Load())
	}

	// What is kept is the last packet of each call, of the last few calls.
	r.path.Store(&path{to: peer.LocalAddr()})
	r.buffering.Store(true)
	for i := range 6 {
		send(append(quicLike(i, 100), quicLike(10+i, 50)...), segmented(100))
	}
	peer.receive(t, 12)
	s.retransmit(r)
	packets, _ = peer.receive(t, 4)
	for i, p := range packets {
		if p != string(quicLike(12+i, 50)) {
			t.Errorf("retransmitted %x as packet %d", p, i)
		}
	}
	r.buffer.clear()
	if n := len(r.buffer.all()); n != 0 {
		t.Errorf("%d packets are kept after clear", n)
	}
	r.buffering.Store(false)

	s.maxPacket = 1300
	if _, err := send(quicLike(6, 1301), nil); !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("too large: %v, want EMSGSIZE", err)
	}
	if _, err := send(make([]byte, 2600), segmented(1300)); err != nil {
		t.Errorf("two of the largest size: %v", err)
	}
	s.removeRoute(r)
	if n, err := send(quicLike(7, 10), nil); n != 10 || err != nil {
		t.Errorf("forgotten peer: %d, %v; want it lost", n, err)
	}
}

// QUIC gives a connection up when a send fails, so only what it must know fails.
func TestSendErrors(t *testing.T) {
	s := listen(t)
	r := s.addRoute(7, func() {})
	send := func(b []byte, to string) error {
		r.path.Store(&path{to: netip.MustParseAddrPort(to)})
		_, _, err := s.pc().WriteMsgUDP(b, nil, fakeAddr(7))
		return err
	}
	// EACCES or ENETUNREACH
	if err := send(quicLike(1, 10), "255.255.255.255:9"); err != nil {
		t.Errorf("broadcast: %v, want it lost", err)
	}
	s.conn.Close()
	if err := send(quicLike(1, 10), "127.0.0.1:9"); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v, want net.ErrClosed", err)
	}
}

func TestDataPathAllocatesNothing(t *testing.T) {
	s, peer := listen(t), listen(t)
	r := s.addRoute(7, func() {})
	back := peer.addRoute(8, func() {})
	peer.addSource(s.LocalAddr(), back)
	batch, oob, to := bytes.Repeat(quicLike(1, 1000), 8), segmented(1000), fakeAddr(7)
	ms := messages(8)
	for name, way := range map[string]path{"direct": {to: peer.LocalAddr()},
		"relayed": {to: peer.LocalAddr(), relay: true}} {
		r.path.Store(&way)
		if way.relay {
			peer.attach(&attachment{server: s.LocalAddr()})
			back = peer.addRoute(7, func() {})
		}
		allocs := testing.AllocsPerRun(100, func() {
			if _, _, err := s.pc().WriteMsgUDP(batch, oob, to); err != nil {
				t.Fatal(err)
			}
			for got := 0; got < 8; {
				n, err := peer.pc().ReadBatch(ms, 0)
				if err != nil {
					t.Fatal(err)
				}
				got += n
			}
		})
		// The pool of relay buffers loses some on purpose under the race detector.
		if allocs > 2 {
			t.Errorf("%s: %v allocations for 8 packets, want none for each", name, allocs)
		}
		if back.received.Load() < 800 {
			t.Errorf("%s: %d packets came by the route", name, back.received.Load())
		}
	}
}

func TestServeSTUN(t *testing.T) {
	s, asker := listen(t), listen(t)
	done := make(chan bool)
	go func() {
		defer close(done)
		s.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		s.pc().ReadBatch(messages(1), 0) // until the QUIC-like packet below
	}()
	ask := func(id transactionID) { asker.WriteTo(newBinding(id), s.LocalAddr()) }
	ask(transactionID{1}) // not served yet, but it may be read late
	s.ServeSTUN()
	ask(transactionID{2})
	buf := make([]byte, 1500)
	asker.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	for {
		n, from, err := asker.conn.ReadFromUDPAddrPort(buf)
		if err != nil {
			t.Fatal(err)
		}
		m, err := parseSTUN(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		mapped, err := mappedAddress(m)
		if err != nil || mapped != asker.LocalAddr() || from != s.LocalAddr() {
			t.Errorf("mapped %v from %v, %v; want %v", mapped, from, err,
				asker.LocalAddr())
		}
		if m.TransactionID == (transactionID{2}) {
			break
		}
	}
	asker.WriteTo(quicLike(1, 30), s.LocalAddr())
	<-done
}

func TestFakeAddr(t *testing.T) {
	seen := map[string]uint32{}
	for _, id := range []uint32{0, 1, 255, 256, 1 << 24, 1<<24 + 1, 0xffffffff} {
		addr := fakeAddr(id)
		if got, ok := fakeID(addr); got != id || !ok {
			t.Errorf("%d became %v became %d, %v", id, addr, got, ok)
		}
		if other, ok := seen[addr.String()]; ok {
			t.Errorf("%d and %d are both %v", id, other, addr)
		}
		seen[addr.String()] = id
		if !addr.AddrPort().IsValid() || addr.IP.To4() == nil {
			t.Errorf("%v is not IPv4", addr)
		}
	}
	for _, real := range []string{"127.0.0.1:1", "10.0.0.1:256", "[::1]:1"} {
		if id, ok := fakeID(net.UDPAddrFromAddrPort(netip.MustParseAddrPort(real))); ok {
			t.Errorf("%s is taken for node %d", real, id)
		}
	}
}

func TestSplitControl(t *testing.T) {
	tos := unixCmsg(unix.CmsgLen(1), unix.IPPROTO_IP, unix.IP_TOS, 2, 0, 0, 0, 0, 0, 0, 0)
	info := unixCmsg(unix.CmsgLen(12), unix.IPPROTO_IP, unix.IP_PKTINFO,
		make([]byte, 16)...)
	gro := unixCmsg(unix.CmsgLen(4), unix.IPPROTO_UDP, unix.UDP_GRO, 0xb0, 4, 0, 0, 0, 0, 0, 0)
	all := slices.Concat(info, tos, gro)
	if segment, rest := splitControl(nil, all, true); segment != 1200 ||
		!bytes.Equal(rest, tos) {
		t.Errorf("peer: %d, %x; want 1200, %x", segment, rest, tos)
	}
	if segment, rest := splitControl(nil, all, false); segment != 1200 ||
		!bytes.Equal(rest, slices.Concat(info, tos)) {
		t.Errorf("stranger: %d, %x; want 1200, %x", segment, rest,
			slices.Concat(info, tos))
	}
	for i := range all { // malformed ones end the walk and nothing else
		splitControl(nil, all[:i], true)
		findControl(all[:i], 1, 1)
	}
}

func TestInterfaces(t *testing.T) {
	var want []string
	list, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range list {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is4() && i.Flags&net.FlagUp != 0 {
				want = append(want, fmt.Sprint(p, i.Flags&net.FlagLoopback != 0, i.MTU))
			}
		}
	}
	var got []string
	for _, i := range listen(t).interfaces() {
		got = append(got, fmt.Sprint(i.prefix, i.loopback, i.mtu))
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestMaxPacketFor(t *testing.T) {
	for _, tc := range []struct {
		mtus []int
		want int
	}{
		{nil, 1452},
		{[]int{1500}, 1452},
		{[]int{1500, 1420}, 1386},
		{[]int{1000}, 1200},
	} {
		list := []iface{{loopback: true, mtu: 500}}
		for _, mtu := range tc.mtus {
			list = append(list, iface{mtu: mtu})
		}
		if got := maxPacketFor(list); got != tc.want {
			t.Errorf("MTUs %v: %d, want %d", tc.mtus, got, tc.want)
		}
	}
}

func TestListenErrors(t *testing.T) {
	if _, err := Listen(netip.MustParseAddrPort("[::1]:0")); err == nil {
		t.Error("IPv6 was accepted")
	}
	s := listen(t)
	if _, err := Listen(s.LocalAddr()); !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
	any, err := Listen(netip.AddrPort{})
	if err != nil || !any.LocalAddr().Addr().IsUnspecified() ||
		any.LocalAddr().Port() == 0 {
		t.Fatalf("got %v, %v; want any address", any.LocalAddr(), err)
	}
	if err := any.Close(); err != nil {
		t.Error(err)
	}
}

// stderr belongs to the program: quic-go must not warn there about buffers.
func TestQUICIsSilent(t *testing.T) {
	var said bytes.Buffer
	log.SetOutput(&said)
	defer log.SetOutput(os.Stderr)
	suppressBufferWarning()
	if _, set := os.LookupEnv("QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"); set {
		t.Error("the variable that silences quic-go is left for children")
	}
	// a connection whose buffers cannot be raised
	noisy := &quic.Transport{Conn: closedConn{}}
	noisy.Close()
	if said.Len() > 0 {
		t.Errorf("quic-go said %q", said.String())
	}
}

// A peer has a bounded number of addresses; the newest are known.
func TestManySources(t *testing.T) {
	s, err := Listen(loopback())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r := s.addRoute(7, func() {})
	other := s.addRoute(8, func() {})
	at := func(i int) netip.AddrPort {
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 9)
	}
	theirs := netip.MustParseAddrPort("10.9.9.9:9")
	s.addSource(theirs, other)
	for i := range 3 * maxSources {
		s.addSource(at(i), r)
		s.addSource(at(i), r)
	}
	table := s.routes.Load().bySource
	if len(table) != maxSources+1 || table[theirs] != other {
		t.Errorf("%d addresses are known, want %d", len(table), maxSources+1)
	}
	if table[at(3*maxSources-1)] != r || table[at(2*maxSources)] != r {
		t.Error("the newest addresses are not known")
	}
}
