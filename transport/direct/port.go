package direct

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A Port is a TCP port of this host from which a node opens its ends of connections that
// peers want. It takes no connection: a listener with a full accept queue has it, and the
// kernel drops every SYN to such a listener (tcp_conn_request in
// net/ipv4/tcp_input.c). A port that nobody has would answer with RST.
type Port struct {
	number uint16
	fds    []int // the listener, and the connection in its queue
}

// OpenPort takes a port that the kernel chooses.
func OpenPort() (*Port, error) {
	p := &Port{}
	if err := p.open(); err != nil {
		p.Close()
		return nil, fmt.Errorf("direct port: %w", err)
	}
	return p, nil
}

func (p *Port) open() error {
	listener, err := p.socket(unix.AF_INET)
	if err != nil {
		return err
	}
	p.fds = append(p.fds, listener)
	if err := unix.Bind(listener, &unix.SockaddrInet4{}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	name, err := unix.Getsockname(listener)
	if err != nil {
		return fmt.Errorf("getsockname: %w", err)
	}
	p.number = uint16(name.(*unix.SockaddrInet4).Port)
	// A backlog of 0 admits one connection (sk_acceptq_is_full in include/net/sock.h).
	if err := unix.Listen(listener, 0); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	filler, err := linux.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	p.fds = append(p.fds, filler)
	// On loopback, which drops nothing.
	if err := unix.Connect(filler, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1},
		Port: int(p.number)}); err != nil {
		return fmt.Errorf("fill the queue: %w", err)
	}
	return nil
}

// socket makes a TCP socket that may share the port with the listener.
func (p *Port) socket(domain int) (int, error) {
	fd, err := linux.Socket(domain, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC,
		0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	for _, opt := range []int{unix.SO_REUSEADDR, unix.SO_REUSEPORT} {
		if err := linux.SetsockoptInt(fd, unix.SOL_SOCKET, opt, 1); err != nil {
			linux.Close(fd)
			return -1, fmt.Errorf("SO_REUSEPORT: %w", err)
		}
	}
	return fd, nil
}

// Number returns the port's number.
func (p *Port) Number() uint16 { return p.number }

// Close gives the port back. Connections that were opened from it stay.
func (p *Port) Close() error {
	var errs []error
	for _, fd := range p.fds {
		errs = append(errs, linux.Close(fd))
	}
	p.fds = nil
	return errors.Join(errs...)
}

// Connect opens this side's end of a connection to an IPv4 address, from the port. domain
// is that of the socket, AF_INET or AF_INET6. mss bounds the segments in bytes
// (TCP_MAXSEG, tcp(7)); 0 leaves them to the kernel. It does not wait: the socket does
// not block, and is writable when the connect has ended. The caller closes it.
func (p *Port) Connect(domain int, to netip.AddrPort, mss int) (fd int, err error) {
	if fd, err = p.socket(domain); err != nil {
		return -1, err
	}
	var own, far unix.Sockaddr = &unix.SockaddrInet4{Port: int(p.number)},
		&unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	if domain == unix.AF_INET6 {
		mapped := netip.AddrFrom4([4]byte{}) // the IPv4 wildcard, v4-mapped
		own = &unix.SockaddrInet6{Port: int(p.number), Addr: mapped.As16()}
		far = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	if err = unix.Bind(fd, own); err != nil {
		linux.Close(fd)
		return -1, fmt.Errorf("bind to port %d: %w", p.number, err)
	}
	if err = connect(fd, far, mss); err != nil {
		linux.Close(fd)
		return -1, fmt.Errorf("connect to %v: %w", to, err)
	}
	return fd, nil
}

// connect starts a connect that does not wait.
func connect(fd int, to unix.Sockaddr, mss int) error {
	if mss > 0 {
		if err := linux.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG,
			mss); err != nil {
			return fmt.Errorf("TCP_MAXSEG: %w", err)
		}
	}
	if err := unix.Connect(fd, to); err != nil && !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	return nil
}
