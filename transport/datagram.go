package transport

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"github.com/quic-go/quic-go"

	"github.com/boxer-sandbox/boxer/stream"
)

// A Datagram is one UDP datagram between nodes, a report that one could not be delivered,
// or an ICMP echo. The network may lose, duplicate and reorder it, as with UDP.
//
// It travels in a DATAGRAM frame (RFC 9221), or, where it does not fit into a
// packet, alone on a unidirectional stream:
//
//	kind        1 byte: see DatagramKind
//	family      1 byte: 4 or 6, and 128 added if the next two bytes are there
//	IP          TTL and TOS, 1 byte each, unless both are the default: see stream.IPFields
//	source      4 or 16 bytes, and 2 for the port
//	destination likewise
//	payload     the rest
//
// Peers that speak the first version of the protocol get datagrams without IP.
type Datagram struct {
	Source, Destination netip.AddrPort // virtual addresses, of one family
	Kind                DatagramKind
	IP                  stream.IPFields // of the sender's packet
	Payload             []byte          // at most MaxDatagram bytes
}

// A DatagramKind says what a Datagram is.
type DatagramKind byte

const (
	// DatagramUDP is a UDP datagram.
	DatagramUDP DatagramKind = 1
	// DatagramUnreachable says that no program has the port Source, to which Destination
	// has sent a datagram: ICMP port unreachable (RFC 792). Its payload is the beginning
	// of that datagram, at most MaxQuote bytes.
	DatagramUnreachable DatagramKind = 2
	// DatagramEcho is an ICMP echo request (RFC 792, RFC 4443) with its payload. The port
	// of Source is its identifier; that of Destination is 0.
	DatagramEcho DatagramKind = 3
	// DatagramEchoReply has the payload of the request that it answers, and its Source
	// and Destination exchanged.
	DatagramEchoReply DatagramKind = 4
)

// MaxQuote bounds the payload of a DatagramUnreachable in bytes: what ICMP has room for
// beside both headers (RFC 1812 section 4.3.2.3).
const MaxQuote = 576 - 2*(20+8)

// MaxDatagram is the largest payload of a UDP datagram over IPv4 in bytes.
const MaxDatagram = 65507

// maxDatagramHeader is the size of the wire form without payload, in bytes.
const maxDatagramHeader = 2 + sizeofIPFields + 2*(16+2)

// sizeofIPFields is the size of IPFields on the wire, in bytes.
const sizeofIPFields = 2

// hasIPFields is the bit of a datagram's family that says that IPFields follow.
const hasIPFields = 0x80

var errDatagram = errors.New("malformed datagram")

// AppendDatagram appends the wire form of d. It fails if the addresses are not of one
// family or the payload is too large.
func AppendDatagram(b []byte, d Datagram) ([]byte, error) {
	src, dst := d.Source.Addr(), d.Destination.Addr()
	if !src.IsValid() || src.BitLen() != dst.BitLen() || src.Zone()+dst.Zone() != "" {
		return nil, fmt.Errorf("datagram from %v to %v: not two addresses of one family",
			d.Source, d.Destination)
	}
	if len(d.Payload) > d.maxPayload() {
		return nil, fmt.Errorf("datagram of %d bytes: more than %d", len(d.Payload),
			d.maxPayload())
	}
	if !d.Kind.known() {
		return nil, fmt.Errorf("datagram of kind %d: %w", d.Kind, errDatagram)
	}
	family := byte(4)
	if src.Is6() {
		family = 6
	}
	if d.IP != (stream.IPFields{}) {
		b = append(b, byte(d.Kind), family|hasIPFields, d.IP.TTL, d.IP.TOS)
	} else {
		b = append(b, byte(d.Kind), family)
	}
	for _, a := range []netip.AddrPort{d.Source, d.Destination} {
		b = append(b, a.Addr().AsSlice()...)
		b = binary.BigEndian.AppendUint16(b, a.Port())
	}
	return append(b, d.Payload...), nil
}

func (k DatagramKind) known() bool { return k >= DatagramUDP && k <= DatagramEchoReply }

func (d Datagram) maxPayload() int {
	if d.Kind == DatagramUnreachable {
		return MaxQuote
	}
	return MaxDatagram
}

// ParseDatagram reads a wire form. The payload is a part of b.
func ParseDatagram(b []byte) (Datagram, error) {
	if len(b) < 2 {
		return Datagram{}, errDatagram
	}
	d := Datagram{Kind: DatagramKind(b[0])}
	if !d.Kind.known() {
		return Datagram{}, errDatagram
	}
	size := 4
	switch b[1] &^ hasIPFields {
	case 4:
	case 6:
		size = 16
	default:
		return Datagram{}, errDatagram
	}
	if b[1]&hasIPFields != 0 {
		if b = b[2:]; len(b) < sizeofIPFields {
			return Datagram{}, errDatagram
		}
		d.IP = stream.IPFields{TTL: b[0], TOS: b[1]}
		if d.IP == (stream.IPFields{}) {
			return Datagram{}, errDatagram // has another form
		}
	}
	b = b[2:]
	for _, to := range []*netip.AddrPort{&d.Source, &d.Destination} {
		if len(b) < size+2 {
			return Datagram{}, errDatagram
		}
		a, _ := netip.AddrFromSlice(b[:size])
		*to = netip.AddrPortFrom(a, binary.BigEndian.Uint16(b[size:]))
		b = b[size+2:]
	}
	if len(b) > d.maxPayload() {
		return Datagram{}, errDatagram
	}
	d.Payload = b
	return d, nil
}

// withoutIPFields returns a wire form as the first version of the protocol has it. It
// changes b.
func withoutIPFields(b []byte) []byte {
	if b[1]&hasIPFields == 0 {
		return b
	}
	kind, family := b[0], b[1]
	b = b[sizeofIPFields:]
	b[0], b[1] = kind, family&^hasIPFields
	return b
}

// datagramQueue is how many datagrams to one peer may wait for the connection or for the
// congestion window. Further ones are dropped, as with a full socket buffer.
const datagramQueue = 256

// SendDatagram sends d to a node. It copies the payload and does not wait. It fails with
// ErrNoPeer or ErrClosed, or if the queue is full. That it returns no error does not mean
// that the datagram arrives.
func (n *Node) SendDatagram(id uint32, d Datagram) error {
	p, err := n.peer(id)
	if err != nil {
		return err
	}
	b := wireForms.Get().(*[]byte)
	if *b, err = AppendDatagram((*b)[:0], d); err != nil {
		return err
	}
	p.datagrams.once.Do(func() {
		p.datagrams.queue = make(chan *[]byte, datagramQueue)
		n.start(p.sendDatagrams)
	})
	n.datagramsQueued.Add(1)
	select {
	case p.datagrams.queue <- b:
		n.lastDatagram.Store(time.Now().UnixNano())
		return nil
	default:
		n.datagramsQueued.Add(-1)
		keepWireForm(b)
		return fmt.Errorf("datagram to node %d: queue full", id)
	}
}

// datagramLately bounds how long a datagram waits within this process for the congestion
// window after it has left the queue.
const datagramLately = time.Second

// DrainDatagrams waits until all datagrams have left their queues, or until ctx ends.
// recent reports that QUIC may not have sent some of them yet.
func (n *Node) DrainDatagrams(ctx context.Context) (recent bool) {
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	for n.datagramsQueued.Load() > 0 {
		select {
		case <-t.C:
		case <-ctx.Done():
			return true
		}
	}
	return time.Now().UnixNano()-n.lastDatagram.Load() < int64(datagramLately)
}

// datagrams is a peer's queue of datagrams. The first datagram makes it.
type datagrams struct {
	once  sync.Once
	queue chan *[]byte
}

// wireForms has buffers for datagrams that wait. QUIC copies them.
var wireForms = sync.Pool{New: func() any { return new([]byte) }}

// maxWireForm bounds the buffers in the pool, in bytes. Most datagrams fit into a packet;
// the buffers of large ones would occupy too much.
const maxWireForm = 2048

func keepWireForm(b *[]byte) {
	if cap(*b) <= maxWireForm {
		wireForms.Put(b)
	}
}

// sendDatagrams sends the datagrams of the queue until the peer is removed. It makes a
// connection if there is none.
func (p *peer) sendDatagrams() {
	for {
		select {
		case <-p.ctx.Done():
			return
		case b := <-p.datagrams.queue:
			c, _, err := p.connection(p.ctx)
			if err == nil {
				err = c.sendDatagram(p.ctx, *b)
			}
			keepWireForm(b)
			p.node.datagramsQueued.Add(-1)
			if err != nil {
				p.node.log.Debug("datagram dropped", "peer", p.id, "err", err)
			}
		}
	}
}

func (c *conn) sendDatagram(ctx context.Context, b []byte) error {
	if !c.ipFields {
		b = withoutIPFields(b)
	}
	err := c.quic.SendDatagram(b)
	var large *quic.DatagramTooLargeError
	if !errors.As(err, &large) {
		return err
	}
	s, err := c.quic.OpenUniStreamSync(ctx)
	if err != nil {
		return err
	}
	if _, err := s.Write(b); err != nil {
		return err
	}
	return s.Close()
}

// receiveDatagrams handles the DATAGRAM frames until the connection ends.
func (c *conn) receiveDatagrams(ctx context.Context) {
	for {
		b, err := c.quic.ReceiveDatagram(ctx)
		if err != nil {
			return
		}
		c.handleDatagram(b)
	}
}

// maxDatagramStreams bounds how many datagrams one peer may send at a time on streams.
const maxDatagramStreams = 256

// datagramWithin bounds how long such a datagram may take. A program has no use for a
// later one.
const datagramWithin = 10 * time.Second

// acceptDatagrams handles the datagrams and announcements on unidirectional streams until
// the connection ends.
func (c *conn) acceptDatagrams(ctx context.Context) {
	var running sync.WaitGroup
	defer running.Wait()
	for {
		s, err := c.quic.AcceptUniStream(ctx)
		if err != nil {
			return
		}
		running.Go(func() {
			s.SetReadDeadline(time.Now().Add(datagramWithin))
			b := make([]byte, 1, 512)
			_, err := io.ReadFull(s, b)
			if err == nil && b[0] == announcements {
				s.SetReadDeadline(time.Time{})
				c.peer.node.log.Debug("announcements ended", "peer", c.peer.id, "err",
					c.learn(s))
				s.CancelRead(codeProtocol)
				return
			}
			if err == nil {
				b, err = appendAll(b, io.LimitReader(s, maxDatagramHeader+MaxDatagram))
			}
			if err != nil || len(b) > maxDatagramHeader+MaxDatagram {
				s.CancelRead(codeProtocol)
				return
			}
			c.handleDatagram(b)
		})
	}
}

// appendAll reads r to its end and appends that to b.
func appendAll(b []byte, r io.Reader) ([]byte, error) {
	buf := bytes.NewBuffer(b)
	_, err := buf.ReadFrom(r)
	return buf.Bytes(), err
}

func (c *conn) handleDatagram(b []byte) {
	d, err := ParseDatagram(b)
	if err != nil {
		c.peer.node.log.Debug("datagram refused", "peer", c.peer.id, "err", err)
		return
	}
	if f := c.peer.node.config.Datagram; f != nil {
		f(c.peer.id, d)
	}
}
