package coordinator

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/time/rate"

	"github.com/boxer-sandbox/boxer/transport"
)

// BenchmarkJoin is the time from a socket to a membership: one QUIC handshake and
// one message each way, with both ends on this machine.
func BenchmarkJoin(b *testing.B) {
	l := newLab(b, ServerConfig{Logger: quiet})
	u := l.url(b)
	var times []time.Duration
	for b.Loop() {
		socket, err := transport.Listen(loopback)
		if err != nil {
			b.Fatal(err)
		}
		identity, err := transport.NewIdentity()
		if err != nil {
			b.Fatal(err)
		}
		start := time.Now()
		c, err := Join(b.Context(), ClientConfig{URL: u, Socket: socket, Identity: identity})
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, time.Since(start))
		b.StopTimer()
		c.Close()
		socket.Close()
		b.StartTimer()
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-us")
}

// BenchmarkSignal is the time until the coordinator has taken a signal.
func BenchmarkSignal(b *testing.B) {
	l := newLab(b, ServerConfig{Logger: quiet})
	u := l.url(b)
	a, err := enter(b, u, ClientConfig{OnSignal: func(uint32, []byte) {}, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	// The limits are for members that send more than a node ever needs to.
	c := l.members.session(a.Self().ID)
	c.limits.messages.SetLimit(rate.Inf)
	msg := make([]byte, 500)
	for b.Loop() {
		err := a.Signal(b.Context(), a.Self().ID, msg)
		if err != nil && !errors.Is(err, ErrBusy) {
			b.Fatal(err)
		}
	}
}

// BenchmarkRelay is the coordinator's work for one relayed packet, with the send.
func BenchmarkRelay(b *testing.B) {
	socket, err := transport.Listen(loopback)
	if err != nil {
		b.Fatal(err)
	}
	defer socket.Close()
	sink, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(loopback))
	if err != nil {
		b.Fatal(err)
	}
	defer sink.Close()
	s := &Server{cfg: ServerConfig{Socket: socket}, relays: newRelayTable()}
	from := netip.MustParseAddrPort("192.0.2.1:1")
	s.relays.set(1, from)
	s.relays.set(2, sink.LocalAddr().(*net.UDPAddr).AddrPort())
	frame := frameTo(2, string(make([]byte, 1200)))
	b.ReportAllocs()
	for b.Loop() {
		transport.SetRelayID(frame, 2)
		s.relay(frame, from)
	}
}
