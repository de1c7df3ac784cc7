package launcher

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/transport"
)

// TestGateway connects through a gateway to a server that is no node, to one that is not
// there, and to a port that it does not have.
func TestGateway(t *testing.T) {
	url := startCoordinator(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(c, c)
				c.Close()
			}()
		}
	}()
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ready, ended := make(chan netip.Addr, 1), make(chan error, 1)
	go func() {
		ended <- Gateway(ctx, GatewayConfig{Name: "outside", Join: url,
			To:     map[uint16]string{7: l.Addr().String(), 8: gone.Addr().String()},
			Ready:  func(a netip.Addr) { ready <- a },
			Logger: slog.New(slog.DiscardHandler)})
	}()
	var addr netip.Addr
	select {
	case addr = <-ready:
	case err := <-ended:
		t.Fatal(err)
	}
	near := joinAs(t, url, "near", nil,
		func(s *transport.Stream) { s.Answer(transport.StatusRefused) })
	await(t, func() bool { return near.m.client.Count("outside") > 0 })
	src := netip.AddrPortFrom(near.m.client.Self().Addr, 40000)
	s, err := near.Dial(t.Context(), syscalls.Opening{Source: src,
		Destination: netip.AddrPortFrom(addr, 7)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(s); string(b) != "hello" || err != nil {
		t.Errorf("%q, %v", b, err)
	}
	for _, port := range []uint16{8, 9} {
		_, err := near.Dial(t.Context(),
			syscalls.Opening{Source: src, Destination: netip.AddrPortFrom(addr, port)})
		if !errors.Is(err, unix.ECONNREFUSED) {
			t.Errorf("port %d: %v", port, err)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
