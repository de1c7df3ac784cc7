// Package over implements the contenders' kinds of connection for package meter.
package over

import (
	"context"
	"fmt"
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// A Network is a kind of connection. Addresses are HOST:PORT.
type Network interface {
	Listen(ctx context.Context, addr string) (meter.Listener, error)
	Dialer(ctx context.Context, addr string) (meter.Dialer, error)
}

// A datagramNetwork also carries datagrams. Its clients use sockets of the kernel.
type datagramNetwork interface {
	ListenPacket(ctx context.Context, addr string) (net.PacketConn, error)
}

// TCP is the kernel's TCP, or boxer's replacement for it.
type TCP struct {
	Congestion string // TCP_CONGESTION of tcp(7); empty: the host's default
}

// control sets the options of a socket.
func (t TCP) control(_, _ string, c syscall.RawConn) error {
	if t.Congestion == "" {
		return nil
	}
	var err error
	if e := c.Control(func(fd uintptr) {
		err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION,
			t.Congestion)
	}); e != nil {
		return e
	}
	if err != nil {
		return fmt.Errorf("TCP_CONGESTION %s: %w", t.Congestion, err)
	}
	return nil
}

// Listen implements Network.
func (t TCP) Listen(ctx context.Context, addr string) (meter.Listener, error) {
	// accepted connections inherit the options
	config := net.ListenConfig{Control: t.control}
	l, err := config.Listen(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	return tcpListener{l}, nil
}

// Dialer implements Network. It resolves the name once, not for each connection.
func (t TCP) Dialer(_ context.Context, addr string) (meter.Dialer, error) {
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (meter.Conn, error) {
		c, err := (&net.Dialer{Control: t.control}).DialContext(ctx, "tcp4", to.String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}, nil
}

// ListenPacket returns a UDP socket at the address.
func (t TCP) ListenPacket(ctx context.Context, addr string) (net.PacketConn, error) {
	return new(net.ListenConfig).ListenPacket(ctx, "udp4", addr)
}

type tcpListener struct{ net.Listener }

func (l tcpListener) Accept() (meter.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	return c.(*net.TCPConn), nil
}
