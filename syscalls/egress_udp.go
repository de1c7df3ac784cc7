package syscalls

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// An egressSocket represents a program's socket outside of the network. A UDP socket that
// is bound to an alias cannot send to the outside, because its source is a loopback
// address. For each such socket, by its kernel address, the supervisor has a socket of
// its own, as a NAT has a mapping (RFC 4787). It sends the program's datagrams. Answers
// from endpoints that the program has sent to arrive through those endpoints' flows.
type egressSocket struct {
	kernel netip.AddrPort // the program's socket
	conn   egressConn
	used   time.Time // guarded by flows.mu
}

// An egressConn is a socket that sends to the outside.
type egressConn interface {
	// WriteTo sends a datagram, or an ICMP message, to an endpoint.
	WriteTo(b []byte, ip stream.IPFields, to netip.AddrPort) error
	// ReadFrom waits for a datagram or message.
	ReadFrom(b []byte) (int, stream.IPFields, netip.AddrPort, error)
	SetReadDeadline(t time.Time) error
	Close() error
}

const (
	// maxEgressSockets bounds their number. Beyond it, the one that was silent longest is
	// closed.
	maxEgressSockets = 64
	// egressTimeout is how long a silent one is kept. RFC 4787 section 4.3 recommends 5
	// minutes for a mapping.
	egressTimeout = 5 * time.Minute
)

// sendEgress sends a program's datagram to the outside.
func (u *udp) sendEgress(from, to netip.AddrPort, ip stream.IPFields, b []byte) {
	o, err := u.egressOf(from, to.Addr().Is6())
	if err == nil {
		err = o.conn.WriteTo(b, ip, to)
	}
	if isUnreachable(err) { // an ICMP error about an earlier datagram, see egressErrors
		err = o.conn.WriteTo(b, ip, to)
	}
	if err != nil {
		u.Logger.Debug("send to the outside", "to", to, "err", err)
	}
}

// egressOf returns the egressSocket of a program's socket, and makes it if necessary.
// isV6 is the family of an echo.
func (u *udp) egressOf(kernel netip.AddrPort, isV6 bool) (*egressSocket, error) {
	f := &u.flows
	f.mu.Lock()
	defer f.mu.Unlock()
	if o, ok := f.egressSockets[kernel]; ok {
		o.used = time.Now()
		return o, nil
	}
	if f.closed {
		return nil, net.ErrClosed
	}
	if len(f.egressSockets) >= maxEgressSockets {
		f.dropEgressLocked()
	}
	conn, err := u.openEgress(kernel, isV6)
	if err != nil {
		return nil, err
	}
	o := &egressSocket{kernel, conn, time.Now()}
	if f.egressSockets == nil {
		f.egressSockets = make(map[netip.AddrPort]*egressSocket)
	}
	f.egressSockets[kernel] = o
	u.tasks.Go(func() { u.receiveEgress(o) })
	return o, nil
}

func (u *udp) openEgress(kernel netip.AddrPort, isV6 bool) (egressConn, error) {
	if u.isPingAlias(kernel.Addr()) {
		return openPing(kernel.Port(), isV6)
	}
	c, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, fmt.Errorf("socket for the outside: %w", err)
	}
	if err := reportErrors(c); err != nil {
		u.Logger.Debug("socket for the outside", "err", err) // refusals are not reported then
	}
	if raw, err := c.SyscallConn(); err == nil {
		raw.Control(func(fd uintptr) { tellIPFields(int(fd)) })
	}
	return newEgressUDP(c), nil
}

func (f *flows) dropEgressLocked() {
	var oldest *egressSocket
	for _, o := range f.egressSockets {
		if oldest == nil || o.used.Before(oldest.used) {
			oldest = o
		}
	}
	delete(f.egressSockets, oldest.kernel)
	oldest.conn.Close()
}

// forgetEgress closes the egressSocket of a program's socket that has closed.
func (f *flows) forgetEgress(kernel netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if o, ok := f.egressSockets[kernel]; ok {
		delete(f.egressSockets, kernel)
		o.conn.Close()
	}
}

// expired removes an egressSocket that was silent for too long, and reports whether it
// was.
func (f *flows) expired(o *egressSocket) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(o.used) < egressTimeout {
		return false
	}
	if f.egressSockets[o.kernel] == o {
		delete(f.egressSockets, o.kernel)
	}
	return true
}

// receiveEgress delivers datagrams from the outside to the program, until the
// egressSocket is closed or was silent for too long.
func (u *udp) receiveEgress(o *egressSocket) {
	defer o.conn.Close()
	var b [maxDatagram + 1]byte
	for {
		o.conn.SetReadDeadline(time.Now().Add(egressTimeout))
		size, ip, from, err := o.conn.ReadFrom(b[:])
		switch {
		case err == nil:
			u.deliverEgress(o, from, ip, b[:size])
		case errors.Is(err, os.ErrDeadlineExceeded):
			if u.flows.expired(o) {
				return
			}
		case errors.Is(err, net.ErrClosed):
			return
		case isUnreachable(err):
			u.egressErrors(o)
		default:
			u.Logger.Debug("receive from the outside", "err", err)
		}
	}
}

func (u *udp) deliverEgress(o *egressSocket, from netip.AddrPort, ip stream.IPFields,
	b []byte) {
	if !u.flows.has(from) { // no program has sent to that endpoint
		return
	}
	fl, err := u.flowTo(from, holder{})
	if err != nil {
		u.Logger.Debug("deliver from the outside", "src", from, "err", err)
		return
	}
	u.flows.mu.Lock()
	o.used = time.Now()
	u.flows.mu.Unlock()
	u.answered(o.kernel, from, b)
	u.deliverTo(fl, o.kernel, ip, b)
}

// egressUDP is an egressConn for UDP.
type egressUDP struct {
	*net.UDPConn
	domain int
}

func newEgressUDP(c *net.UDPConn) egressUDP {
	if local, ok := c.LocalAddr().(*net.UDPAddr); ok && local.IP.To4() == nil {
		return egressUDP{c, unix.AF_INET6}
	}
	return egressUDP{c, unix.AF_INET}
}

// WriteTo implements egressConn. It fails with EAGAIN instead of waiting for room,
// because other sockets wait for the same goroutine.
func (c egressUDP) WriteTo(b []byte, ip stream.IPFields, to netip.AddrPort) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var sent error
	err = raw.Control(func(fd uintptr) { sent = sendEgressOn(int(fd), c.domain, b, ip, to) })
	return errors.Join(err, sent)
}

// sendEgressOn sends to the outside from a socket of a domain.
func sendEgressOn(fd, domain int, b []byte, ip stream.IPFields, to netip.AddrPort) error {
	var control []byte
	if ip != (stream.IPFields{}) && to.Addr().Is6() {
		control = ipv6Control(ip)
	} else if ip != (stream.IPFields{}) {
		control = ipControl(ip)
	}
	return unix.Sendmsg(fd, b, control, kernelSockaddr(domain, to), unix.MSG_DONTWAIT)
}

func (c egressUDP) ReadFrom(b []byte) (int, stream.IPFields, netip.AddrPort, error) {
	var control [256]byte
	size, oobn, _, from, err := c.ReadMsgUDPAddrPort(b, control[:])
	return size, receivedIPFields(control[:max(oobn, 0)]),
		netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}

// egressPing is an egressConn for echoes, by a ping socket of the host or a raw socket.
type egressPing struct {
	*os.File
	isV6, raw bool
	id        uint16 // identifier of the program's ping socket
}

// openPing opens an egressPing. It fails with EACCES if the host allows boxer neither
// kind of socket (ping_group_range, icmp(7); CAP_NET_RAW).
func openPing(id uint16, isV6 bool) (egressConn, error) {
	const typ = unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	domain, proto, raw := unix.AF_INET, unix.IPPROTO_ICMP, false
	if isV6 {
		domain, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	fd, err := linux.Socket(domain, unix.SOCK_DGRAM|typ, proto)
	if errors.Is(err, unix.EACCES) {
		raw = true
		fd, err = linux.Socket(domain, unix.SOCK_RAW|typ, proto)
	}
	if err != nil {
		return nil, fmt.Errorf("ping socket for the outside: %w", unix.EACCES)
	}
	tellIPFields(fd)
	return &egressPing{os.NewFile(uintptr(fd), "ping"), isV6, raw, id}, nil
}

func (c *egressPing) WriteTo(b []byte, ip stream.IPFields, to netip.AddrPort) error {
	domain, kind := unix.AF_INET, byte(echoRequest)
	if c.isV6 {
		domain, kind = unix.AF_INET6, echoRequest6
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	b = echoAs(b, kind, c.id)
	var sent error
	err = raw.Control(func(fd uintptr) { sent = sendEgressOn(int(fd), domain, b, ip, to) })
	return errors.Join(err, sent)
}

// ReadFrom implements egressConn. It returns the next echo reply for the program, with
// the program's identifier.
func (c *egressPing) ReadFrom(b []byte) (int, stream.IPFields, netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, stream.IPFields{}, netip.AddrPort{}, net.ErrClosed
	}
	for {
		var size int
		var from unix.Sockaddr
		var failed error
		var control [256]byte
		var oobn int
		err := raw.Read(func(fd uintptr) bool {
			size, oobn, _, from, failed = unix.Recvmsg(int(fd), b, control[:],
				unix.MSG_DONTWAIT)
			return !errors.Is(failed, unix.EAGAIN)
		})
		switch {
		case err == nil:
			err = failed
		case !errors.Is(err, os.ErrDeadlineExceeded):
			err = net.ErrClosed
		}
		source, _, ok := sockaddrAddrPort(from)
		if err != nil {
			return 0, stream.IPFields{}, netip.AddrPort{}, err
		}
		if msg, mine := c.answer(b[:size]); ok && mine {
			return copy(b, echoAs(msg, msg[0], c.id)), receivedIPFields(control[:oobn]),
				netip.AddrPortFrom(source.Addr(), 0), nil
		}
	}
}

// answer returns the ICMP message in a received packet. mine is false if it is not a
// reply for the program.
func (c *egressPing) answer(b []byte) (msg []byte, mine bool) {
	reply := byte(echoReply)
	if c.isV6 {
		reply = echoReply6
	}
	if c.raw && !c.isV6 { // the program sees the header, raw(7)
		if len(b) == 0 || int(b[0]&0xf)*4 > len(b) { // the length of the header, RFC 791
			return nil, false
		}
		b = b[int(b[0]&0xf)*4:]
	}
	if len(b) < sizeofEcho || b[0] != reply || c.raw && echoID(b) != c.id {
		return nil, false
	}
	return b, true
}
