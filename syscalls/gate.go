package syscalls

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A gate holds sockets in SYN_SENT for as long as wanted. Linux polls an
// unconnected TCP socket as writable and hung up, and a connect to any
// listener of the host completes at once; a program that waits in poll(2) for
// its non-blocking connect would be told lies by both.
//
// The gate is a listener whose accept queue is full: the kernel drops every SYN
// to it (tcp_conn_request in net/ipv4/tcp_input.c), so a connect to it stays
// pending. A packet filter that drops everything would do the same, but
// attaching one to a TCP socket takes CAP_NET_ADMIN on new kernels (seen on
// 6.18). open then connects from the gate's own address to the waiting socket:
// a simultaneous open (RFC 9293 section 3.5), after which that socket is
// established, at its program's poll and all, with open's socket as its peer.
//
// The listener is on all loopback addresses, and each destination has its own
// (gateAddrs): the kernel, which tells connections apart by their four-tuple, then
// allows and refuses a port that connects to several destinations as it does without
// boxer.
type gate struct {
	addr  netip.AddrPort // an address of the gate that no destination has
	addrs *gateAddrs     // nil: the gate has no other

	// closed is a port that is taken and not listened on: the kernel refuses
	// connections to it, with all that programs see of that.
	closed netip.AddrPort

	fds []int // the gate's socket, the one in its accept queue, the closed one
}

// gates are a node's.
type gates struct {
	v4 *gate
	v6 *gate // for IPv6 peers; nil where there are none
}

// to returns the gate for connections to an address.
func (g *gates) to(peer netip.Addr) *gate {
	if peer.Is4() {
		return g.v4
	}
	return g.v6
}

// newGate makes a gate. Its closed port is at a loopback address, and the whole gate if
// the kernel does not bind sockets to a device for it (before Linux 5.7 without
// CAP_NET_RAW).
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

// has reports whether an address is one of the gate's.
func (g *gate) has(a netip.AddrPort) bool {
	return a == g.addr || g.addrs != nil && a.Port() == g.addr.Port() &&
		g.addrs.prefix.Contains(a.Addr())
}

// fill puts the one connection into the queue.
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

// reserve takes the closed port.
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
// and returns the other end. It fails with ECONNREFUSED if that socket is gone.
func (g *gate) open(at, program netip.AddrPort) (*loopConn, error) {
	fd, err := reusableSocket()
	if err != nil {
		return nil, err
	}
	if err := bindTo(fd, unix.AF_INET, at); err != nil {
		linux.Close(fd)
		return nil, fmt.Errorf("bind to gate: %w", err)
	}
	if err := connectWithin(fd, program); err != nil {
		linux.Close(fd)
		return nil, fmt.Errorf("open from gate: %w", err)
	}
	return newLoopConn(fd)
}

// refuse resets the socket at program, which is connecting to the gate's address at, as a
// refusal by the kernel does: its pollers see every event of that, and the socket is
// ready for what a program does next. Two attempts to open do it, of one socket. The
// first one's answer is dropped, by its TTL (IP_MINTTL, ip(7)): the program's socket is
// in SYN_RECV, which no program can see, and the other end knows nothing of it. The
// second has another sequence number, which the program's socket challenges (RFC 5961
// section 4.2), and the other end takes the challenge for a stranger's and sends RST. All
// of it happens within these calls.
func (g *gate) refuse(at, program netip.AddrPort) error {
	fd, err := reusableSocket()
	if err != nil {
		return err
	}
	defer linux.Close(fd)
	if err := bindTo(fd, unix.AF_INET, at); err != nil {
		return fmt.Errorf("bind to gate: %w", err)
	}
	to := kernelSockaddr(unix.AF_INET, program)
	for _, ttl := range []int{255, 0} {
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

// gateTimeout bounds the wait for a connection over loopback in milliseconds. It
// takes about 20 us.
const gateTimeout = 1000

// connectWithin connects a socket, which must not block, to an address on loopback. It
// waits for gateTimeout at most: nobody answers where the interface is down, or a
// firewall drops what is sent.
func connectWithin(fd int, to netip.AddrPort) error {
	// On loopback the handshake is done within connect(2), whatever it returns.
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

// connectOutcome tells how a connect ended that poll(2) has waited for.
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

// reusableSocket makes a TCP socket that may share its address with others of
// its kind.
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
