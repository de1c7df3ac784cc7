package transport

import (
	"net"
	"net/netip"

	"golang.org/x/net/ipv4"
)

// ReadBatch returns the next packets for quic-go, at least one. It handles everything
// else that arrives. Only quic-go's reading goroutine calls it.
func (c *packetConn) ReadBatch(ms []ipv4.Message, _ int) (int, error) {
	return c.socket.in.readBatch(ms)
}

// A receiver cuts received datagrams into packets and sorts them. With UDP_GRO one
// datagram of up to 64 KiB has many packets of one sender. Only the reading goroutine
// uses a receiver. It allocates nothing for a packet.
type receiver struct {
	socket *Socket
	count  int // datagrams of the last receive
	next   int // the one of them to cut after the current one

	// The rest of the current datagram.
	rest    []byte
	segment int // size of a packet in rest; the last one may be smaller
	from    netip.AddrPort
	route   *route   // of the peer that sent it, or nil
	addr    net.Addr // of the sender, as QUIC knows it
	oob     []byte   // the control messages for QUIC

	// strangers has the addresses of senders without a route as QUIC needs them: for a
	// node the coordinator's, for the coordinator the nodes'.
	strangers map[netip.AddrPort]*net.UDPAddr
}

// maxStrangers bounds the cache of addresses. A full cache is cleared.
const maxStrangers = 1024

func newReceiver(s *Socket) *receiver {
	return &receiver{
		socket:    s,
		oob:       make([]byte, 0, controlSize),
		strangers: make(map[netip.AddrPort]*net.UDPAddr),
	}
}

func (r *receiver) readBatch(ms []ipv4.Message) (n int, err error) {
	for n < len(ms) {
		if len(r.rest) == 0 {
			if r.next == r.count {
				if n > 0 {
					break // these packets must not wait for more
				}
				r.next, r.count = 0, 0
				if r.count, err = r.socket.wire.receive(); err != nil {
					return 0, err
				}
			}
			r.open(r.next)
			r.next++
			continue
		}
		packet := r.rest[:min(r.segment, len(r.rest))]
		r.rest = r.rest[len(packet):]
		packet, route, addr := r.sort(packet)
		m := &ms[n]
		// nothing for QUIC, or more than QUIC ever sends
		if packet == nil || len(packet) > len(m.Buffers[0]) {
			continue
		}
		if route != nil {
			route.received.Add(1)
			route.bytesReceived.Add(uint64(len(packet)))
		}
		m.N = copy(m.Buffers[0], packet)
		m.NN = copy(m.OOB, r.oob)
		m.Addr = addr
		n++
	}
	return n, nil
}

// open makes the i-th datagram of the last receive the current one.
func (r *receiver) open(i int) {
	data, control, from, whole := r.socket.wire.datagram(i)
	if !whole {
		return
	}
	from = r.socket.undetoured(from)
	r.rest, r.from = data, from
	r.route = r.socket.routes.Load().bySource[from]
	if r.route != nil {
		r.addr = r.route.addr
	} else {
		r.addr = r.stranger(from)
	}
	r.segment, r.oob = splitControl(r.oob[:0], control, r.route != nil)
	if r.segment <= 0 {
		r.segment = len(data)
	}
}

func (r *receiver) stranger(from netip.AddrPort) *net.UDPAddr {
	addr := r.strangers[from]
	if addr == nil {
		if len(r.strangers) >= maxStrangers {
			clear(r.strangers)
		}
		addr = net.UDPAddrFromAddrPort(from)
		r.strangers[from] = addr
	}
	return addr
}

// sort handles a packet by its first byte (RFC 9443 section 3), or returns the QUIC
// packet in it, if there is one, and its sender.
func (r *receiver) sort(b []byte) (packet []byte, route *route, addr net.Addr) {
	switch {
	case len(b) == 0:
	case isQUIC(b):
		return b, r.route, r.addr
	case isSTUN(b):
		r.socket.handleSTUN(b, r.from, relaySource{})
	case b[0] == relayMagic:
		return r.sortRelayed(b)
	}
	return nil, nil, nil
}

// sortRelayed is sort for the packet inside a relay frame.
func (r *receiver) sortRelayed(frame []byte) (packet []byte, route *route,
	addr net.Addr) {
	id, packet, err := ParseRelayFrame(frame)
	if err != nil {
		return nil, nil, nil
	}
	if f := r.socket.relay.Load(); f != nil {
		(*f)(frame, r.from)
		return nil, nil, nil
	}
	if node := r.socket.node.Load(); node == nil || r.from != node.server {
		return nil, nil, nil // only the coordinator is the relay
	}
	if isSTUN(packet) {
		r.socket.handleSTUN(packet, r.from, relaySource{id: id, ok: true})
		return nil, nil, nil
	}
	route = r.socket.routes.Load().byID[id]
	if route == nil || !isQUIC(packet) {
		return nil, nil, nil
	}
	return packet, route, route.addr
}

// isQUIC reports whether b, not empty, begins like a QUIC packet: one of the
// two top bits is set, as in every version 1 packet (RFC 9000 section 17).
func isQUIC(b []byte) bool { return b[0]&0xc0 != 0 }

// isSTUN reports whether b, not empty, begins like a STUN message: first byte
// 0 to 3, room for a header, and the magic cookie (RFC 8489 section 5).
func isSTUN(b []byte) bool {
	return b[0] < 4 && len(b) >= 20 && [4]byte(b[4:8]) == [4]byte{0x21, 0x12, 0xa4, 0x42}
}

// isIndication reports the class of a STUN message: bits C1 and C0 of its type
// (RFC 8489 section 5) are 0 and 1.
func isIndication(b []byte) bool { return b[0]&0x01 == 0 && b[1]&0x10 != 0 }

// handleSTUN passes a STUN message to the node, or handles it for a coordinator.
func (s *Socket) handleSTUN(b []byte, from netip.AddrPort, relayed relaySource) {
	if node := s.node.Load(); node != nil {
		node.stun(b, from, relayed)
		return
	}
	if f := s.indication.Load(); f != nil && !relayed.ok && isIndication(b) {
		(*f)(b, from)
		return
	}
	if s.stunServer.Load() && !relayed.ok {
		if answer, err := answerBinding(b, from); err == nil {
			s.WriteTo(answer, from) // the sender asks again if the answer is lost
		}
	}
}
