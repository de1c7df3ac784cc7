package syscalls

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// pings are the node's ping sockets (socket(2) with SOCK_DGRAM and IPPROTO_ICMP,
// icmp(7)). A ping socket is implemented as a UDP socket whose port is the identifier of
// its echoes. For the kernel, the ICMP messages are datagrams between the socket and a
// flow whose endpoint has port 0. Ping sockets thus work whether or not the host allows
// them (ping_group_range), and poll(2), queues and timestamps are the kernel's.
type pings struct {
	count atomic.Int64
	mu    sync.Mutex
	known map[uint64]bool // by cookie
	order []uint64        // the keys, oldest first
}

// maxPings bounds the table, whose entries outlive their sockets.
const maxPings = 1024

// The parts of an echo that ICMP and ICMPv6 share (RFC 792, RFC 4443 section 4): type,
// code, checksum, identifier and sequence number, 8 bytes in all.
const (
	sizeofEcho  = 8
	echoRequest = 8
	echoReply   = 0

	echoRequest6 = 128
	echoReply6   = 129
)

func (p *pings) add(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known == nil {
		p.known = make(map[uint64]bool)
	}
	p.known[id] = true
	p.order = append(p.order, id)
	if len(p.order) > maxPings {
		delete(p.known, p.order[0])
		p.order = p.order[1:]
	}
	p.count.Store(int64(len(p.known)))
}

// has reports whether a UDP socket implements a ping socket.
func (p *pings) has(s *progSocket) bool {
	if p.count.Load() == 0 {
		return false
	}
	id, err := s.cookie()
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.known[id]
}

// pingSocket answers socket(2) for a ping socket. A program in a network namespace of its
// own gets the kernel's.
func (u *udp) pingSocket(c Call) reply {
	if !networkNamespace.has(c.TID()) {
		return passthrough
	}
	r := newSocket(c.Int(0), c.Int(1), unix.IPPROTO_UDP)
	if r.kind != replyFD {
		return r
	}
	id, err := cookie(r.fd)
	if err == nil { // as Linux has it: INET_PROTOSW_REUSE in net/ipv4/af_inet.c
		err = linux.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	if err != nil {
		linux.Close(r.fd)
		return fail(err)
	}
	u.pings.add(id)
	return r
}

// protocol answers getsockopt(2) with SO_PROTOCOL.
func (u *udp) protocol(c Call) reply {
	if u.pings.count.Load() == 0 {
		return passthrough
	}
	return onSocket(c, func(s *progSocket) reply {
		if !u.pings.has(s) {
			return passthrough
		}
		domain, _, err := s.kind()
		if err != nil {
			return fail(err)
		}
		proto := uint32(unix.IPPROTO_ICMP)
		if domain == unix.AF_INET6 {
			proto = unix.IPPROTO_ICMPV6
		}
		return fail(writeIntOption(c, proto))
	})
}

// bindPing binds a ping socket to an identifier; 0 means any.
func (u *udp) bindPing(s *progSocket, want netip.AddrPort) error {
	switch a := want.Addr().Unmap(); {
	case a.IsUnspecified(), a.IsLoopback(), u.Owns(a):
		alias := u.Aliases.Ping
		if s.domain == unix.AF_INET6 {
			alias = u.Aliases.Ping6
		}
		if err := s.mappable(); err != nil {
			return err
		}
		if err := s.bindTo(netip.AddrPortFrom(alias, want.Port())); err != nil {
			return err
		}
		return u.show(s)
	}
	return unix.EADDRNOTAVAIL
}

// usePing binds a ping socket that has no identifier yet.
func (u *udp) usePing(s *progSocket) error {
	if s.hasPort() {
		return nil
	}
	return u.bindPing(s, netip.AddrPortFrom(netip.IPv4Unspecified(), 0))
}

// connectPing answers connect(2).
func (u *udp) connectPing(c Call, s *progSocket, dst netip.Addr) error {
	if err := u.usePing(s); err != nil {
		return err
	}
	fl, err := u.pingFlow(c, s, dst)
	if err != nil {
		return err
	}
	if err := s.connectTo(fl.local); err != nil {
		return err
	}
	u.pin(s, fl.local)
	return nil
}

// pingFlow returns the flow for echoes to a host.
func (u *udp) pingFlow(c Call, s *progSocket, dst netip.Addr) (*flow, error) {
	if dst == netip.IPv6Unspecified() { // this host
		dst = netip.IPv6Loopback()
	} else if dst.IsUnspecified() {
		dst = localhost4
	}
	if dst.IsMulticast() || dst == broadcast4 {
		return nil, unix.ENETUNREACH
	}
	if !u.inNetwork(dst) && !dst.IsLoopback() { // now, so that the call gets the error
		local, _, err := s.localName()
		if err != nil {
			return nil, err
		}
		if _, err := u.egressOf(unmapped(local.Addr), dst.Is6()); err != nil {
			return nil, err
		}
	}
	return u.flowTo(netip.AddrPortFrom(dst, 0), holderOf(c))
}

// sendPing answers a call that sends from a ping socket.
func (u *udp) sendPing(c Call, s *progSocket, flags int, control []byte, dst netip.Addr,
	p payload) reply {
	if err := u.usePing(s); err != nil {
		return fail(err)
	}
	fl, err := u.pingFlow(c, s, dst)
	if err != nil {
		return fail(err)
	}
	control = u.kernelControl(control)
	u.choosesIPFields(control)
	return u.sendOn(s, flags, control, kernelSockaddr(s.domain, fl.local),
		echoOnly(p))
}

// echoOnly restricts a payload to messages that Linux lets a ping socket send:
// ping_v4_sendmsg in net/ipv4/ping.c.
func echoOnly(p payload) payload {
	return func(b []byte) (int, error) {
		size, err := p(b)
		if err == nil && (size < sizeofEcho || b[1] != 0 || b[0] != echoRequest &&
			b[0] != echoRequest6) {
			err = unix.EINVAL
		}
		return size, err
	}
}

// sendEcho forwards an echo request that a ping socket has sent to a flow.
func (u *udp) sendEcho(from, peer netip.AddrPort, ip stream.IPFields, msg []byte) {
	if !u.isPingAlias(from.Addr()) || len(msg) < sizeofEcho {
		return
	}
	switch a := peer.Addr(); {
	case u.Owns(a), a.IsLoopback(), a.IsUnspecified():
		u.deliverEcho(a, from, stream.IPFields{TOS: ip.TOS}, msg)
	case u.inNetwork(a) && u.Datagrams != nil:
		src := netip.AddrPortFrom(u.addrFor(a), from.Port())
		if !u.Datagrams.SendEcho(src, peer, ip, msg) {
			u.sendUnreachable(src, peer, msg)
		}
	default:
		u.sendEgress(from, peer, ip, msg)
	}
}

// deliverEcho is Node.DeliverEcho.
func (u *udp) deliverEcho(peer netip.Addr, dst netip.AddrPort, ip stream.IPFields,
	msg []byte) {
	if len(msg) < sizeofEcho {
		return
	}
	asked := netip.AddrPortFrom(peer, 0)
	if !u.flows.has(asked) {
		return
	}
	fl, err := u.flowTo(asked, holder{})
	if err != nil {
		u.Logger.Debug("deliver echo", "src", peer, "err", err)
		return
	}
	kind, alias := byte(echoReply), u.Aliases.Ping
	if peer.Is6() {
		kind, alias = echoReply6, u.Aliases.Ping6
	}
	u.deliverTo(fl, netip.AddrPortFrom(alias, dst.Port()), ip,
		echoAs(msg, kind, dst.Port()))
}

// isPingAlias reports whether an alias is one of ping sockets.
func (u *udp) isPingAlias(a netip.Addr) bool {
	return a == u.Aliases.Ping ||
		a == u.Aliases.Ping6
}

// echoAs returns an echo with another type and identifier.
func echoAs(msg []byte, kind byte, id uint16) []byte {
	b := append([]byte(nil), msg...)
	b[0], b[1] = kind, 0
	b[2], b[3] = 0, 0
	binary.BigEndian.PutUint16(b[4:], id)
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

func echoID(msg []byte) uint16 { return binary.BigEndian.Uint16(msg[4:]) }

// checksum returns the Internet checksum (RFC 1071) of b.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum>>16 != 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}
