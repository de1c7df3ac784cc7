package launcher

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/internal/virtualtime"
	"github.com/boxer-sandbox/boxer/policy"
	"github.com/boxer-sandbox/boxer/transport"
)

// A fakeAccess allows ports to peers.
type fakeAccess map[uint32]policy.Ports

func (f fakeAccess) Access(peer uint32) policy.Ports { return f[peer] }
func (f fakeAccess) Restricted() bool                { return f != nil }

func ports(t *testing.T, text string) policy.Ports {
	t.Helper()
	p, err := policy.ParsePorts(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestGuard(t *testing.T) {
	some, web := ports(t, "80,53/udp"), ports(t, "80-90,*/udp")
	var none policy.Ports
	for _, tc := range []struct {
		name    string
		access  fakeAccess
		offered *policy.Ports
		proto   policy.Proto
		port    uint16
		want    transport.Status
	}{
		{"open", nil, nil, policy.TCP, 1, transport.StatusOK},
		{"allowed", fakeAccess{7: web}, nil, policy.TCP, 80, transport.StatusOK},
		{"other port", fakeAccess{7: web}, nil, policy.TCP, 91,
			transport.StatusForbidden},
		{"other peer", fakeAccess{8: web}, nil, policy.TCP, 80,
			transport.StatusForbidden},
		{"udp", fakeAccess{7: some}, nil, policy.UDP, 53, transport.StatusOK},
		{"udp is not tcp", fakeAccess{7: some}, nil, policy.TCP, 53,
			transport.StatusForbidden},
		{"not offered", fakeAccess{7: web}, &some, policy.TCP, 81,
			transport.StatusRefused},
		{"offered", fakeAccess{7: web}, &some, policy.TCP, 80, transport.StatusOK},
		{"offered, not allowed", fakeAccess{7: none}, &some, policy.TCP, 80,
			transport.StatusForbidden},
		{"none", fakeAccess{7: policy.AllPorts()}, &none, policy.UDP, 53,
			transport.StatusRefused},
	} {
		var members accessList = tc.access
		if got := newGuard(members, tc.offered).admits(7, tc.proto,
			tc.port); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

// Answers to a program's own datagrams come in for some time, whatever the policy says.
func TestGuardDatagrams(t *testing.T) {
	virtualtime.Test(t, func(t *testing.T) {
		g := newGuard(fakeAccess{7: ports(t, "53/udp")}, nil)
		own, far := netip.MustParseAddrPort("10.111.0.2:4000"),
			netip.MustParseAddrPort("10.111.0.3:99")
		in := func(kind transport.DatagramKind, to netip.AddrPort) bool {
			return g.admitsDatagram(7, &transport.Datagram{Kind: kind, Source: far,
				Destination: to})
		}
		dns := netip.AddrPortFrom(own.Addr(), 53)
		if !in(transport.DatagramUDP, dns) || in(transport.DatagramUDP, own) ||
			in(transport.DatagramUnreachable, own) || !in(transport.DatagramEcho, own) {
			t.Error("before the program sends")
		}
		g.noteSent(own, far)
		if !in(transport.DatagramUDP, own) || !in(transport.DatagramUnreachable, own) {
			t.Error("answers are refused")
		}
		far = netip.AddrPortFrom(far.Addr(), 98)
		if in(transport.DatagramUDP, own) {
			t.Error("another port of the peer answers")
		}
		far = netip.AddrPortFrom(far.Addr(), 99)
		time.Sleep(flowLife)
		if in(transport.DatagramUDP, own) {
			t.Error("an answer came in after flowLife")
		}
		for i := range maxUDPFlows + 1000 {
			g.noteSent(netip.AddrPortFrom(own.Addr(), uint16(i)),
				netip.AddrPortFrom(own.Addr(), uint16(i>>8)))
		}
		if len(g.flows) > maxUDPFlows {
			t.Errorf("%d flows are remembered", len(g.flows))
		}
	})
}

// A change of the policy resets the connections of real streams, keeps the others, and
// evicts nodes' connections.
func TestPolicyOnStreams(t *testing.T) {
	server, url := startServer(t)
	var mu sync.Mutex
	var accepted []*transport.Stream
	hold := make(chan struct{})
	accept := func(s *transport.Stream) {
		if s.Answer(transport.StatusOK) != nil {
			return
		}
		mu.Lock()
		accepted = append(accepted, s)
		mu.Unlock()
		<-hold // as deliver, until the connection ends
	}
	defer close(hold)
	web := joinAs(t, url, "web", nil, accept)
	db := joinAs(t, url, "db", nil, accept)
	other := joinAs(t, url, "other", nil, accept)
	await(t, func() bool { return web.m.client.Count("db") > 0 && other.m.client.Count("db") > 0 })
	dial := func(from network, port uint16) (*transport.Stream, error) {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return from.m.open(ctx, transport.Header{
			Source:      netip.AddrPortFrom(from.m.client.Self().Addr, 4000),
			Destination: netip.AddrPortFrom(db.m.client.Self().Addr, port)})
	}
	must := func(from network, port uint16) *transport.Stream {
		t.Helper()
		s, err := dial(from, port)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	stays, goes, stranger := must(web, 5432), must(web, 5433), must(other, 5432)
	if err := server.ApplyPolicy("test", "allow web to db:5432"); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*transport.Stream{goes, stranger} {
		if _, err := s.Read(make([]byte, 1)); !errors.Is(err, transport.ErrReset) &&
			!errors.Is(err, transport.ErrLost) {
			t.Errorf("a connection that is not allowed any more: %v", err)
		}
	}
	if _, err := dial(web, 5433); !errors.Is(err, unix.EACCES) {
		t.Errorf("another port: %v, want EACCES", err)
	}
	await(t, func() bool { return len(other.m.client.Members()) == 1 })
	if _, err := dial(other, 5432); err == nil {
		t.Error("a node without access has connected")
	}
	must(web, 5432)
	mu.Lock()
	first := accepted[0]
	mu.Unlock()
	if _, err := first.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := stays.Read(make([]byte, 1)); err != nil {
		t.Errorf("a connection that is allowed: %v", err)
	}

	// Eviction ends the connection, and the node itself has none left.
	if gone, err := server.Evict("web"); err != nil || len(gone) != 1 {
		t.Fatalf("evicted %v, %v", gone, err)
	}
	if _, err := first.Read(make([]byte, 1)); !errors.Is(err, transport.ErrLost) {
		t.Errorf("a connection of an evicted node: %v", err)
	}
	<-web.m.client.Done()
	await(t, func() bool { return len(web.m.node.Paths()) == 0 })
	if _, err := dial(web, 5432); err == nil {
		t.Error("an evicted node has connected")
	}
}

// startServer runs a coordinator until the test ends.
func startServer(t *testing.T) (*coordinator.Server, coordinator.JoinURL) {
	t.Helper()
	state, err := coordinator.NewState()
	if err != nil {
		t.Fatal(err)
	}
	socket, err := state.Listen(netip.MustParseAddrPort("127.0.0.1:0"))
	if err != nil {
		t.Fatal(err)
	}
	server, err := coordinator.NewServer(coordinator.ServerConfig{Socket: socket, State: state})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- server.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-served
		socket.Close()
	})
	url, err := server.JoinURL(socket.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	return server, url
}
