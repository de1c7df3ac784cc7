package launcher

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/boxer-sandbox/boxer/stream"
	"github.com/boxer-sandbox/boxer/syscalls"
)

// A Publish forwards a port of the host to a port of the node.
type Publish struct {
	Listen string // [ADDR]:PORT on the host
	Port   uint16 // of the node
}

// ParsePublish parses [ADDR:]HOSTPORT:PORT. Without ADDR, the port is open on all
// addresses of the host.
func ParsePublish(s string) (Publish, error) {
	wrong := func(why string) (Publish, error) {
		return Publish{}, fmt.Errorf("--publish %q: %s; use [ADDR:]HOSTPORT:PORT, such as 8080:80", s, why)
	}
	host, last, ok := cutLast(s, ":")
	if !ok {
		return wrong("a port is missing")
	}
	port, err := strconv.ParseUint(last, 10, 16)
	if err != nil || port == 0 {
		return wrong("the node's port is not a number from 1 to 65535")
	}
	if !strings.Contains(host, ":") {
		host = ":" + host
	}
	_, hostPort, err := net.SplitHostPort(host)
	if err != nil {
		return wrong("the host's address is not ADDR:PORT")
	}
	if _, err := strconv.ParseUint(hostPort, 10, 16); err != nil {
		return wrong("the host's port is not a number from 0 to 65535")
	}
	return Publish{Listen: host, Port: uint16(port)}, nil
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// acceptPause is the pause after an accept that failed, mostly for lack of descriptors:
// without a pause, it would fail again at once.
const acceptPause = 50 * time.Millisecond

// A publisher accepts connections on the host and forwards them to the node's programs.
type publisher struct {
	l     net.Listener
	conns sync.WaitGroup
}

func publish(p Publish, node *syscalls.Node, log *slog.Logger) (*publisher, error) {
	l, err := net.Listen("tcp", p.Listen)
	if err != nil {
		return nil, fmt.Errorf("publish port %d: %w", p.Port, err)
	}
	pub := &publisher{l: l}
	pub.conns.Go(func() {
		for {
			c, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				log.Warn("publish: accept failed; trying again", "port", p.Port, "err", err)
				time.Sleep(acceptPause)
				continue
			}
			pub.conns.Go(func() { pub.serve(c.(*net.TCPConn), p.Port, node) })
		}
	})
	return pub, nil
}

// serve forwards one connection to the program that listens. The program sees the
// client's address, unless its socket is of another family.
func (p *publisher) serve(c *net.TCPConn, port uint16, node *syscalls.Node) {
	from := c.RemoteAddr().(*net.TCPAddr).AddrPort()
	accepted, err := node.AcceptIngress(context.Background(), from, port)
	if err != nil {
		c.SetLinger(0) // too late to refuse the client's connect: reset the connection
		c.Close()
		return
	}
	s, err := stream.NewTCP(c)
	if err != nil {
		accepted.Abort()
		return
	}
	accepted.Run(s)
}

// close stops accepting. Connections end with the node.
func (p *publisher) close() { p.l.Close() }
