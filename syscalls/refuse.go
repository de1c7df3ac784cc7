package syscalls

import (
	"errors"
	"net/netip"
	"slices"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// The kernel itself makes the error of a refused datagram: the program's socket sends to
// a closed loopback port, and the kernel sets the socket's error, wakes waiting threads
// and fills the error queue (IP_RECVERR, ip(7)). When a far endpoint reports that its
// port is closed, the supervisor closes the endpoint's flow for an instant and sends once
// more from a copy of the program's own socket. It does not keep such copies: a copy
// would keep the socket open after the program has closed it. Datagrams that other
// sockets send to the flow in that instant, some microseconds, are refused as well; the
// endpoint would have refused them, too.

// A holder identifies a program's socket by a trapped call. The descriptor may have been
// closed since, or may refer to another socket.
type holder struct {
	tid int // the calling thread; 0: none
	fd  int // the socket's descriptor
}

func holderOf(c Call) holder { return holder{c.TID(), c.Int(0)} }

// maxHolders bounds how many sockets a flow records.
const maxHolders = 32

func (fl *flow) heldLocked(by holder) {
	if last := len(fl.holders) - 1; by.tid == 0 || last >= 0 && fl.holders[last] == by {
		return
	}
	if i := slices.Index(fl.holders, by); i >= 0 {
		fl.holders = slices.Delete(fl.holders, i, i+1)
	} else if len(fl.holders) == maxHolders {
		fl.holders = slices.Delete(fl.holders, 0, 1)
	}
	fl.holders = append(fl.holders, by)
}

// maxQuote bounds how many bytes of a datagram its refusal contains: as many as ICMP has
// room for in 576 bytes, with both headers (RFC 1812 section 4.3.2.3).
const maxQuote = 576 - 2*(20+8)

// unreachable is Node.Unreachable.
func (u *udp) unreachable(peer, dst netip.AddrPort, quote []byte) {
	u.refuseFrom(peer, dst, quote, unix.ECONNREFUSED)
}

// refuseFrom reports to the socket at the node's port dst that its datagram to a peer was
// not delivered: ECONNREFUSED if the peer has refused it, EHOSTUNREACH if no node has the
// peer's address.
func (u *udp) refuseFrom(peer, dst netip.AddrPort, quote []byte, errno unix.Errno) {
	f := &u.flows
	f.mu.Lock()
	fl, ok := f.byPeer[peer]
	var holders []holder
	if ok && u.CopyFD != nil {
		fl.unreachable = errno == unix.EHOSTUNREACH
		holders = slices.Clone(fl.holders)
	}
	f.mu.Unlock()
	if len(quote) > maxQuote {
		quote = quote[:maxQuote]
	}
	for _, h := range slices.Backward(holders) {
		fd, err := u.CopyFD(h.tid, h.fd)
		if err != nil {
			continue // the thread has ended, or has closed the socket
		}
		s := &progSocket{fd: fd}
		wanted := u.wantsErrors(s, fl, dst.Port(), errno)
		if wanted {
			u.unreachables.note(s, errno == unix.EHOSTUNREACH)
			err := u.refuse(fl, s, quote)
			u.Logger.Debug("refused", "peer", peer, "port", dst.Port(), "err", err)
		}
		s.close()
		if wanted {
			return
		}
	}
}

// wantsErrors reports whether a socket is the UDP socket at a port to which Linux reports
// an error of a datagram to a flow's endpoint: a socket with IP_RECVERR (ip(7)), or, for
// a refusal, one that is connected to the endpoint.
func (u *udp) wantsErrors(s *progSocket, fl *flow, port uint16, errno unix.Errno) bool {
	ok, err := s.isUDP()
	if err != nil || !ok {
		return false
	}
	local, _, err := s.localName()
	if err != nil || u.datagramSource(local).Addr.Port() != port {
		return false
	}
	if peer, ok, err := s.peerName(); err == nil && errno == unix.ECONNREFUSED {
		return ok && netip.AddrPortFrom(peer.Addr.Addr().Unmap(),
			peer.Addr.Port()) == fl.local
	}
	level, opt := unix.IPPROTO_IP, unix.IP_RECVERR
	if s.domain == unix.AF_INET6 {
		level, opt = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
	}
	v, err := linux.GetsockoptInt(s.fd, level, opt)
	return err == nil && v != 0
}

// refuse makes the kernel refuse a datagram of a program's socket to a flow.
func (u *udp) refuse(fl *flow, s *progSocket, quote []byte) error {
	fl.refusing.Lock()
	defer fl.refusing.Unlock()
	// A socket that is connected elsewhere accepts no datagrams from others. The kernel
	// answers those with ICMP port unreachable.
	elsewhere := kernelSockaddr(unix.AF_INET, u.closed)
	if err := fl.control(func(fd int) error { return unix.Connect(fd, elsewhere) }); err != nil {
		return err
	}
	defer fl.control(linux.Disconnect)
	domain, _, err := s.kind()
	if err != nil {
		return err
	}
	to := kernelSockaddr(domain, fl.local)
	err = unix.Sendto(s.fd, quote, unix.MSG_DONTWAIT, to)
	// this call has fetched an earlier error that the program had not fetched
	if errors.Is(err, unix.ECONNREFUSED) {
		err = unix.Sendto(s.fd, quote, unix.MSG_DONTWAIT, to)
	}
	return err
}

// programGone handles an ICMP port unreachable for a datagram that the flow has
// delivered: the program has closed its socket, or has connected it elsewhere.
func (u *udp) programGone(fl *flow) {
	var quote [maxQuote]byte
	var size int
	var to unix.Sockaddr
	err := fl.control(func(fd int) error {
		var oob [512]byte
		var err error
		size, _, _, to, err = unix.Recvmsg(fd, quote[:], oob[:],
			unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		return err
	})
	in4, ok := to.(*unix.SockaddrInet4) // the datagram's destination, ip(7), IP_RECVERR
	if err != nil || !ok {
		return
	}
	kernel := netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
	dst := u.datagramSender(fl.peer.Addr(), kernel)
	// A socket that is connected to another endpoint refuses this one, and remains. Only
	// a bind that succeeds shows that the socket has closed.
	if probe(unix.SOCK_DGRAM, -1, kernel) == nil {
		u.forgetDatagrams(kernel)
	}
	if u.Owns(fl.peer.Addr()) {
		u.unreachable(dst, fl.peer, quote[:size])
		return
	}
	dst, peer := u.onTheWire(fl, dst)
	u.Datagrams.SendUnreachable(peer, dst, quote[:size])
}
