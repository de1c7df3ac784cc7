package transport

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"golang.org/x/sys/unix"
)

// Socket is the one UDP socket of a node or a coordinator: it sits under one
// quic.Transport, tells QUIC, STUN and relay packets apart by the first byte
// (RFC 9443), and sends QUIC's packets to a peer along the path of the moment.
// It keeps the kernel's offloads: large sends are segmented by the kernel, and
// large receives are cut here.
type Socket struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	wire  wire
	quic  *quic.Transport
	in    *receiver
	local netip.AddrPort
	// maxPacket is the largest QUIC packet for a peer, in bytes, such that it
	// fits the first link with a relay header before it: paths can then be
	// exchanged under a connection that has found its packet size.
	maxPacket int

	mu     sync.Mutex // orders writers of routes
	routes atomic.Pointer[routeTable]

	stunServer atomic.Bool
	relay      atomic.Pointer[func(frame []byte, from netip.AddrPort)]
	indication atomic.Pointer[func(b []byte, from netip.AddrPort)]
	node       atomic.Pointer[attachment]
}

// An attachment is the Node of a Socket: it gets what is not for QUIC. Both
// functions are called on the reading goroutine; b is valid during the call.
type attachment struct {
	server netip.AddrPort // the only address from which relay frames are taken
	// stun gets a STUN message, which came through the relay from the node
	// relayed.id if relayed.ok.
	stun func(b []byte, from netip.AddrPort, relayed relaySource)
}

type relaySource struct {
	id uint32
	ok bool
}

// Listen opens a UDP socket at addr, which has to be IPv4; an invalid (zero)
// address means all of them and any port. The socket belongs to the network
// namespace of the calling thread and stays in it.
func Listen(addr netip.AddrPort) (*Socket, error) {
	suppressBufferWarning()
	if !addr.IsValid() {
		addr = netip.AddrPortFrom(netip.IPv4Unspecified(), addr.Port())
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if !addr.Addr().Is4() {
		return nil, fmt.Errorf("listen %v: only IPv4 is supported", addr)
	}
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		return nil, err // a *net.OpError: names operation and address
	}
	s, err := newSocket(conn)
	if err != nil {
		return nil, fmt.Errorf("listen %v: %w", addr, errors.Join(err, conn.Close()))
	}
	return s, nil
}

// newSocket makes a Socket of a UDP socket.
func newSocket(conn *net.UDPConn) (s *Socket, err error) {
	s = &Socket{conn: conn, local: conn.LocalAddr().(*net.UDPAddr).AddrPort()}
	s.local = netip.AddrPortFrom(s.local.Addr().Unmap(), s.local.Port())
	if s.raw, err = conn.SyscallConn(); err == nil {
		err = s.setOptions()
	}
	if err != nil {
		return nil, err
	}
	s.wire = newKernelWire(conn, s.raw)
	s.maxPacket = maxPacketFor(s.interfaces())
	s.routes.Store(&routeTable{byID: map[uint32]*route{}, bySource: map[netip.AddrPort]*route{}})
	s.in = newReceiver(s)
	s.quic = &quic.Transport{Conn: &packetConn{UDPConn: conn, socket: s}}
	return s, nil
}

// socketBuffer is the size asked of the kernel for either direction, in bytes.
// quic-go wants 7 MiB: some 50 ms of 1 Gbit/s, the longest that the reading
// goroutine might wait for a core.
const socketBuffer = 7 << 20

// setOptions raises the buffers as far as allowed and asks for coalesced
// receives where the kernel has them (UDP_GRO, Linux 5.0, udp(7)).
func (s *Socket) setOptions() error {
	return s.raw.Control(func(fd uintptr) {
		for force, plain := range map[int]int{unix.SO_RCVBUFFORCE: unix.SO_RCVBUF,
			unix.SO_SNDBUFFORCE: unix.SO_SNDBUF} {
			// needs CAP_NET_ADMIN
			if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, force, socketBuffer) != nil {
				// bounded by rmem_max, wmem_max
				unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, plain, socketBuffer)
			}
		}
		unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1)
	})
}

// QUIC returns the transport on this socket, for listening and for dialling.
func (s *Socket) QUIC() *quic.Transport { return s.quic }

// LocalAddr returns the address that the socket is bound to.
func (s *Socket) LocalAddr() netip.AddrPort { return s.local }

// ServeSTUN makes the socket answer every STUN binding request with the
// address that it came from (RFC 8489 section 12).
func (s *Socket) ServeSTUN() { s.stunServer.Store(true) }

// HandleRelay makes f see each relay frame that comes in. It is called on the
// reading goroutine and must not wait; the frame is valid, and may be changed,
// during the call.
func (s *Socket) HandleRelay(f func(frame []byte, from netip.AddrPort)) { s.relay.Store(&f) }

// HandleIndication makes f see each STUN indication that comes to a socket with
// ServeSTUN (RFC 8489 section 3). It is called on the reading goroutine and must not
// wait; b is valid during the call.
func (s *Socket) HandleIndication(f func(b []byte, from netip.AddrPort)) { s.indication.Store(&f) }

// Close ends the QUIC transport without a word to the peers, then closes the
// socket. Close what uses the socket first.
func (s *Socket) Close() error {
	s.quic.Close()
	return s.wire.close()
}

// attach makes a the receiver of what is not QUIC, or nobody if a is nil.
func (s *Socket) attach(a *attachment) { s.node.Store(a) }

// packetConn is the Socket as quic-go wants it: see
// quic.OOBCapablePacketConn. What it does not override, such as SyscallConn, is the real
// connection's.
type packetConn struct {
	*net.UDPConn
	socket *Socket
}

var _ quic.OOBCapablePacketConn = (*packetConn)(nil)

// Close leaves the real connection open: it is the Socket's.
func (c *packetConn) Close() error { return nil }

// SetReadDeadline ends a ReadBatch at a time.
func (c *packetConn) SetReadDeadline(t time.Time) error { return c.socket.wire.setReadDeadline(t) }
