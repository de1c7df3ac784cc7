package syscalls

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// A gate keeps sockets in SYN_SENT as long as needed. poll(2) reports an unconnected TCP
// socket as writable and hung up, and a connect to an ordinary listener of the host
// completes at once. Either would mislead a program that waits in poll(2) for its
// non-blocking connect.
//
// The gate is a listener whose accept queue is full. The kernel drops every SYN to it
// (tcp_conn_request in net/ipv4/tcp_input.c), so a connect to it stays pending. A socket
// filter that drops everything would do the same, but attaching one to a TCP socket takes
// CAP_NET_ADMIN on new kernels (seen on 6.18). open connects from the gate's own address
// to the waiting socket. This is a simultaneous open (RFC 9293 section 3.5). It
// establishes the program's socket, with open's socket as its peer.
//
// The listener is on all loopback addresses, and each destination has its own one
// (gateAddrs). The kernel tells connections apart by their four-tuples, so it allows and
// refuses several connections from one port as it does without boxer.
type gate struct {
	addr  netip.AddrPort // the gate's own address, which represents no destination
	addrs *gateAddrs     // nil: the gate has only addr

	// closed is a port that is bound and not listening. The kernel refuses connections to
	// it, and programs see an ordinary refusal.
	closed netip.AddrPort

	fds []int // the listener, the socket in its accept queue, the closed socket
}

// gates are the gates of a node.
type gates struct {
	v4 *gate
	v6 *gate // for IPv6 peers; nil: the network has no IPv6
}

// to returns the gate for connections to an address.
func (g *gates) to(peer netip.Addr) *gate {
	if peer.Is4() {
		return g.v4
	}
	return g.v6
}

// newGate makes a gate. addr is the loopback address of its closed port. If the kernel
// cannot bind sockets to a device without CAP_NET_RAW (before Linux 5.7), the whole gate
// is at addr.
func newGate(addr netip.Addr, family role) (*gate, error) {
	g := &gate{}
	if err := errors.Join(g.listen(addr, family), g.fill(), g.reserve(addr)); err != nil {
		g.close()
		return nil, fmt.Errorf("gate at %v: %w", addr, err)
	}
	return g, nil
}

// listen makes a listener whose accept queue holds one connection: a backlog
// of 0 admits one (sk_acceptq_is_full in include/net/sock.h).
func (g *gate) listen(addr netip.Addr, family role) error {
	fd, err := reusableSocket()
	if err != nil {
		return err
	}
	g.fds = append(g.fds, fd)
	all := unix.BindToDevice(fd, "lo") == nil
	if all {
		addr = netip.IPv4Unspecified()
	}
	if g.addr, err = bindAny(fd, addr); err != nil {
		return err
	}
	if all {
		g.addrs = newGateAddrs(family)
		g.addr = netip.AddrPortFrom(g.addrs.at(0), g.addr.Port())
	}
	if err := unix.Listen(fd, 0); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// towards returns the gate's address for connections to a destination.
func (g *gate) towards(dst netip.AddrPort) netip.AddrPort {
	if g.addrs == nil {
		return g.addr
	}
	return netip.AddrPortFrom(g.addrs.of(dst), g.addr.Port())
}

// has reports whether an address belongs to the gate.
func (g *gate) has(a netip.AddrPort) bool {
	return a == g.addr || g.addrs != nil && a.Port() == g.addr.Port() &&
		g.addrs.prefix.Contains(a.Addr())
}

// fill makes the connection that fills the accept queue.
func (g *gate) fill() error {
	if !g.addr.IsValid() {
		return nil // listen has failed
	}
	fd, err := linux.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	g.fds = append(g.fds, fd)
	err = connectWithin(fd, g.addr)
	if errors.Is(err, unix.ETIMEDOUT) {
		return fmt.Errorf("no connection over the loopback interface, which a firewall may filter: %w", err)
	}
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	return nil
}

// reserve binds the closed port.
func (g *gate) reserve(addr netip.Addr) error {
	fd, err := linux.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	g.fds = append(g.fds, fd)
	g.closed, err = bindAny(fd, addr)
	return err
}

// bindAny binds to an ephemeral port of addr and returns it.
func bindAny(fd int, addr netip.Addr) (netip.AddrPort, error) {
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: addr.As4()}); err != nil {
		return netip.AddrPort{}, fmt.Errorf("bind: %w", err)
	}
	s, _, err := localName(fd)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("getsockname: %w", err)
	}
	return s.Addr, nil
}

func (g *gate) close() error {
	if g == nil {
		return nil
	}
	var errs []error
	for _, fd := range g.fds {
		errs = append(errs, linux.Close(fd))
	}
	return errors.Join(errs...)
}

// open establishes the socket at program, which is connecting to the gate's address at,
// and returns the other end, whose packets have the fields ip. It fails with ECONNREFUSED
// if that socket does not exist any more.
func (g *gate) open(at, program netip.AddrPort, ip stream.IPFields) (*loopConn, error) {
	fd, err := reusableSocket()
	if err != nil {
		return nil, err
	}
	if err := bindTo(fd, unix.AF_INET, at); err != nil {
		linux.Close(fd)
		return nil, fmt.Errorf("bind to gate: %w", err)
	}
	setIPFields(fd, ip, stream.IPFields{})
	if err := connectWithin(fd, program); err != nil {
		linux.Close(fd)
		return nil, fmt.Errorf("open from gate: %w", err)
	}
	return newLoopConn(fd)
}

// refuse resets the socket at program, which is connecting to the gate's address at. The
// program sees the same as after a refusal by the kernel: all events of poll(2), and a
// socket that can connect again. Two attempts to open the same socket achieve that. The
// answer to the first is dropped because of its TTL (IP_MINTTL, ip(7)). The program's
// socket is then in SYN_RECV, which the program cannot see, and the other end does not
// know of the connection. The second attempt has another sequence number, so the
// program's socket sends a challenge ACK (RFC 5961 section 4.2). The other end does not
// expect that and sends RST. All of this happens within these calls.
func (g *gate) refuse(at, program netip.AddrPort) error {
	fd, err := reusableSocket()
	if err != nil {
		return err
	}
	defer linux.Close(fd)
	if err := bindTo(fd, unix.AF_INET, at); err != nil {
		return fmt.Errorf("bind to gate: %w", err)
	}
	// The program's socket may refuse a low TTL itself.
	if err := linux.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TTL,
		highestTTL); err != nil {
		return fmt.Errorf("IP_TTL: %w", err)
	}
	to := kernelSockaddr(unix.AF_INET, program)
	for _, ttl := range []int{highestTTL, 0} {
		if err := linux.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MINTTL,
			ttl); err != nil {
			return fmt.Errorf("IP_MINTTL: %w", err)
		}
		if err := unix.Connect(fd, to); !errors.Is(err, unix.EINPROGRESS) &&
			!errors.Is(err, unix.ECONNREFUSED) {
			return fmt.Errorf("refuse from gate: %w", err)
		}
		if ttl > 0 {
			if err := linux.Disconnect(fd); err != nil {
				return fmt.Errorf("disconnect: %w", err)
			}
		}
	}
	return nil
}

// gateTimeout bounds the wait for a connection over loopback, in milliseconds. It usually
// takes about 20 us.
const gateTimeout = 1000

// connectWithin connects a non-blocking socket to an address on loopback. It waits at
// most gateTimeout: there is no answer if the interface is down, or if a firewall drops
// packets.
func connectWithin(fd int, to netip.AddrPort) error {
	// On loopback the handshake ends within connect(2), whatever connect returns.
	err := connectTo(fd, unix.AF_INET, to)
	if !errors.Is(err, unix.EINPROGRESS) {
		return err
	}
	p := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	for {
		if _, err = unix.Poll(p[:], gateTimeout); !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err == nil {
		err = connectOutcome(fd)
	}
	return err
}

// connectOutcome returns the result of a connect after poll(2) has reported its end.
func connectOutcome(fd int) error {
	v, err := linux.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return err
	}
	if v != 0 {
		return unix.Errno(v)
	}
	if state, err := tcpState(fd); err != nil || state == tcpSynSent {
		return unix.ETIMEDOUT
	}
	return nil
}

// reusableSocket makes a TCP socket that may share its address with other such sockets.
func reusableSocket() (int, error) {
	fd, err := linux.Socket(unix.AF_INET,
		unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
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
