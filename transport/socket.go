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

// Socket is the one UDP socket of a node or a coordinator. It sits under one
// quic.Transport, tells QUIC, STUN and relay packets apart by their first byte (RFC
// 9443), and sends QUIC's packets for a peer on the path in use. It keeps the kernel's
// offloads: the kernel segments large sends, and the Socket cuts large receives.
type Socket struct {
	conn  *net.UDPConn
	raw   syscall.RawConn
	wire  wire
	quic  *quic.Transport
	in    *receiver
	local netip.AddrPort
	// maxPacket is the largest QUIC packet for a peer that fits the first link with a
	// relay header before it, in bytes. So the path of a connection can change after QUIC
	// has found the packet size.
	maxPacket int

	mu     sync.Mutex // orders writers of routes
	routes atomic.Pointer[routeTable]

	suspended  atomic.Bool
	detour     atomic.Pointer[detour] // nil: none
	stunServer atomic.Bool
	relay      atomic.Pointer[func(frame []byte, from netip.AddrPort)]
	indication atomic.Pointer[func(b []byte, from netip.AddrPort)]
	node       atomic.Pointer[attachment]
}

// An attachment is the Node of a Socket. It gets what is not for QUIC. The reading
// goroutine calls its functions; b is valid during the call.
type attachment struct {
	server netip.AddrPort // relay frames from other addresses are dropped
	// stun handles a STUN message. If relayed.ok, it has come through the relay from the
	// node relayed.id.
	stun func(b []byte, from netip.AddrPort, relayed relaySource)
}

type relaySource struct {
	id uint32
	ok bool
}

// Listen opens a UDP socket at addr, which has to be IPv4; the zero AddrPort means all
// addresses and any port. The socket stays in the network namespace of the calling
// thread.
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

// socketBuffer is the size of the kernel's buffer to ask for in each direction, in bytes.
// quic-go recommends 7 MiB: about 50 ms of 1 Gbit/s, the longest time that the reading
// goroutine might wait for a core.
const socketBuffer = 7 << 20

// setOptions enlarges the buffers as far as the kernel allows, and asks for coalesced
// receives (UDP_GRO, since Linux 5.0, udp(7)).
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

// HandleRelay makes the reading goroutine call f for each relay frame that arrives. f
// must not wait. The frame is valid, and may be changed, during the call.
func (s *Socket) HandleRelay(f func(frame []byte, from netip.AddrPort)) { s.relay.Store(&f) }

// HandleIndication makes the reading goroutine of a socket with ServeSTUN call f for each
// STUN indication that arrives (RFC 8489 section 3). f must not wait; b is valid during
// the call.
func (s *Socket) HandleIndication(f func(b []byte, from netip.AddrPort)) { s.indication.Store(&f) }

// Close closes the QUIC transport, without telling the peers, then the socket. The caller
// first closes the Node that uses it.
func (s *Socket) Close() error {
	s.quic.Close()
	return s.wire.close()
}

// attach makes a handle what is not QUIC; nil: it is dropped.
func (s *Socket) attach(a *attachment) { s.node.Store(a) }

// packetConn is the Socket as quic-go needs it: see quic.OOBCapablePacketConn. The
// methods that it does not override, such as SyscallConn, are those of the UDP socket.
type packetConn struct {
	*net.UDPConn
	socket *Socket
}

var _ quic.OOBCapablePacketConn = (*packetConn)(nil)

// Close leaves the UDP socket open: the Socket closes it.
func (c *packetConn) Close() error { return nil }

// SetReadDeadline ends a ReadBatch at a time.
func (c *packetConn) SetReadDeadline(t time.Time) error { return c.socket.wire.setReadDeadline(t) }
