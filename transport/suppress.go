package transport

import (
	"context"
	"net"
	"os"
	"sync"
	"time"

	"github.com/quic-go/quic-go"
)

// suppressBufferWarning keeps quic-go from printing on stderr, which belongs to the
// program that boxer runs. quic-go warns once in a process if it cannot enlarge a UDP
// buffer, unless an environment variable says no. This function uses up that warning on a
// transport without a socket. It sets the variable only meanwhile: child processes must
// not inherit it.
var suppressBufferWarning = sync.OnceFunc(func() {
	const name = "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING"
	if _, set := os.LookupEnv(name); !set {
		os.Setenv(name, "true")
		defer os.Unsetenv(name)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	t := &quic.Transport{Conn: closedConn{}}
	// This initialises the transport. It fails because ctx is done.
	t.ReadNonQUICPacket(ctx, nil)
	t.Close()
})

// closedConn is a net.PacketConn that is closed.
type closedConn struct{}

func (closedConn) ReadFrom([]byte) (int, net.Addr, error) { return 0, nil, net.ErrClosed }
func (closedConn) WriteTo([]byte, net.Addr) (int, error)  { return 0, net.ErrClosed }
func (closedConn) Close() error                           { return nil }
func (closedConn) LocalAddr() net.Addr                    { return &net.UnixAddr{} }
func (closedConn) SetDeadline(time.Time) error            { return nil }
func (closedConn) SetReadDeadline(time.Time) error        { return nil }
func (closedConn) SetWriteDeadline(time.Time) error       { return nil }
