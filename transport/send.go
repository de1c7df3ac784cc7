package transport

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"
)

// WriteTo sends one datagram that is not QUIC's to a real address. That it returns no
// error does not mean that the datagram arrives.
func (s *Socket) WriteTo(b []byte, to netip.AddrPort) error {
	_, _, err := s.write(b, nil, to)
	return err
}

// WriteMsgUDP sends a packet, or several of one size with UDP_SEGMENT among the control
// messages (udp(7)), to a peer's fake address or to a real one.
func (c *packetConn) WriteMsgUDP(b, oob []byte, addr *net.UDPAddr) (n, oobn int,
	err error) {
	s := c.socket
	id, fake := fakeID(addr)
	if !fake {
		to := addr.AddrPort()
		return s.write(b, oob, netip.AddrPortFrom(to.Addr().Unmap(), to.Port()))
	}
	r := s.routes.Load().byID[id]
	if r == nil {
		return len(b), len(oob), nil // the peer was removed: the packet is lost
	}
	r.noteSent(len(b))
	size := len(b)
	segment := segmentSize(oob)
	if segment != 0 {
		size = min(size, int(segment))
	}
	if size > s.maxPacket {
		return 0, 0, unix.EMSGSIZE // QUIC probes for larger packets
	}
	if r.buffering.Load() {
		r.buffer.add(b, segment)
	}
	return s.writeRoute(r, b, oob, segment)
}

// writeRoute sends packets on the path in use.
func (s *Socket) writeRoute(r *route, b, oob []byte, segment uint16) (n, oobn int,
	err error) {
	p := r.path.Load()
	switch {
	case p == nil:
		return len(b), len(oob), nil
	case p.relay:
		return s.writeRelayed(b, oob, segment, r.id, p.to)
	}
	return s.write(b, oob, p.to)
}

// retransmit sends the packets of the retransmit buffer. An error counts as their loss.
func (s *Socket) retransmit(r *route) {
	for _, b := range r.buffer.all() {
		s.writeRoute(r, b, nil, 0)
	}
}

// WriteTo sends one packet. quic-go requires it and does not call it.
func (c *packetConn) WriteTo(b []byte, addr net.Addr) (int, error) {
	udp, ok := addr.(*net.UDPAddr)
	if !ok {
		return 0, &net.AddrError{Err: "not a UDP address", Addr: addr.String()}
	}
	n, _, err := c.WriteMsgUDP(b, nil, udp)
	return n, err
}

// noteSent counts a packet, and wakes the peer if it is asleep.
func (r *route) noteSent(n int) {
	r.sent.Add(1)
	r.bytesSent.Add(uint64(n))
	if r.asleep.Load() && r.asleep.CompareAndSwap(true, false) {
		r.wake()
	}
}

// write sends to a real address.
func (s *Socket) write(b, oob []byte, to netip.AddrPort) (n, oobn int, err error) {
	if s.suspended.Load() {
		return len(b), len(oob), nil
	}
	if err := s.wire.send(b, oob, s.detoured(to)); err != nil && fatal(err) {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// fatal reports whether QUIC has to know an error of sendmsg(2). All others count as a
// lost packet: QUIC closes a connection on any error, but a missing route, a full queue
// or a firewall that refuses (EPERM) may last for a moment only, or for one path only.
func fatal(err error) bool {
	return errors.Is(err, net.ErrClosed) ||
		errors.Is(err, unix.EMSGSIZE) || // QUIC's search for the packet size
		errors.Is(err, unix.EIO) // no segmentation on this device: QUIC does without
}

// A relayBuffer has what one call sends to the relay: at most 63 KiB from quic-go, in
// packets of 1200 bytes or more, and a header for each packet.
type relayBuffer struct {
	data []byte
	oob  []byte
}

var relayBuffers = sync.Pool{New: func() any {
	return &relayBuffer{data: make([]byte, 0, 64<<10), oob: make([]byte, 0, controlSize)}
}}

// writeRelayed sends packets to the peer id through the relay at to. Each packet gets a
// relay header, and the kernel still segments the send.
func (s *Socket) writeRelayed(b, oob []byte, segment uint16, id uint32,
	to netip.AddrPort) (n, oobn int, err error) {
	buf := relayBuffers.Get().(*relayBuffer)
	defer relayBuffers.Put(buf)
	size := len(b)
	if segment != 0 {
		size = int(segment)
	}
	buf.data = buf.data[:0]
	for rest := b; len(rest) > 0; {
		packet := rest[:min(size, len(rest))]
		rest = rest[len(packet):]
		buf.data = append(AppendRelayHeader(buf.data, id), packet...)
	}
	buf.oob = append(buf.oob[:0], oob...)
	if segment != 0 {
		setSegmentSize(buf.oob, segment+relayHeaderSize)
	}
	if _, _, err := s.write(buf.data, buf.oob, to); err != nil {
		return 0, 0, err
	}
	return len(b), len(oob), nil
}

// segmentSize returns the value of the UDP_SEGMENT control message, or 0.
func segmentSize(oob []byte) uint16 {
	if v := findControl(oob, unix.IPPROTO_UDP, unix.UDP_SEGMENT); len(v) >= 2 {
		return binary.NativeEndian.Uint16(v)
	}
	return 0
}

func setSegmentSize(oob []byte, size uint16) {
	if v := findControl(oob, unix.IPPROTO_UDP, unix.UDP_SEGMENT); len(v) >= 2 {
		binary.NativeEndian.PutUint16(v, size)
	}
}
