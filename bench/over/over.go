// Package over has the contenders' kinds of connection, for package meter.
package over

import (
	"context"
	"fmt"
	"net"

	"github.com/boxer-sandbox/boxer/bench/meter"
)

// A Network is a kind of connection. Addresses are HOST:PORT.
type Network interface {
	Listen(ctx context.Context, addr string) (meter.Listener, error)
	Dialer(ctx context.Context, addr string) (meter.Dialer, error)
}

// TCP is the kernel's, or what boxer makes of it.
type TCP struct{}

// Listen implements Network.
func (TCP) Listen(ctx context.Context, addr string) (meter.Listener, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp4", addr)
	if err != nil {
		return nil, err
	}
	return tcpListener{l}, nil
}

// Dialer implements Network. The name is looked up now, not for each connection.
func (TCP) Dialer(_ context.Context, addr string) (meter.Dialer, error) {
	to, err := net.ResolveTCPAddr("tcp4", addr)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context) (meter.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, "tcp4", to.String())
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}, nil
}

type tcpListener struct{ net.Listener }

func (l tcpListener) Accept() (meter.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, fmt.Errorf("accept: %w", err)
	}
	return c.(*net.TCPConn), nil
}
