package trace

import (
	"container/heap"
	"encoding/binary"
	"io"
	"net/netip"
	"time"
)

// Block types and option codes of pcapng (draft-ietf-opsawg-pcapng).
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockNames     = 4
	blockPacket    = 6

	optionEnd       = 0
	optionComment   = 1
	optionUserAppl  = 4 // of a section
	optionName      = 2 // of an interface
	optionAbout     = 3 // of an interface
	optionResolving = 9 // of an interface: if_tsresol, the unit of timestamps
	optionFlags     = 2 // of a packet

	// linkRaw is LINKTYPE_RAW: a packet begins with its IP header.
	linkRaw = 101

	// maxHeld bounds the packets that the writer holds to put them in order, in bytes.
	maxHeld = 4 << 20

	// maxNames bounds how many addresses get a name.
	maxNames = 1 << 16
)

// pcapWriter writes packets as the network between the programs would have carried them.
// It writes the blocks itself, because gopacket's pcapgo (v1.7.7) supports comments but
// no name resolution blocks.
type pcapWriter struct {
	out   io.Writer
	buf   []byte
	began bool
	head  heads

	interfaces map[int]uint32 // by source
	names      map[netip.Addr]string
	flows      flows

	held      packetHeap // packets that may still be preceded by earlier ones
	heldBytes int
	count     uint64
	now       time.Duration // time of the last event
}

// A packet is a packet that waits to be written in order.
type packet struct {
	at        time.Duration
	order     uint64 // among packets of the same time
	source    int
	data      []byte
	full      int // original length on the wire
	comment   string
	direction uint32 // 1: inbound, 2: outbound
}

func newPcapng(w io.Writer, _ Options) Writer {
	p := &pcapWriter{out: w, interfaces: make(map[int]uint32),
		names: make(map[netip.Addr]string)}
	p.flows.init(p)
	return p
}

func (w *pcapWriter) Write(e Event) error {
	w.now = max(w.now, e.At().Time)
	switch e := e.(type) {
	case *Header:
		w.header(e)
	case *Connection:
		w.name(e.Remote.Addr(), e.Peer)
		if h := w.head.headers[e.Source]; h != nil {
			w.name(e.Local.Addr(), h.Node)
		}
		if e.Local.Port() == 0 { // boxer refused the call before the socket had a port
			known := *e
			known.Local = netip.AddrPortFrom(e.Local.Addr(), 49152+uint16(e.ID%16384))
			e = &known
		}
		w.flows.connection(e)
	case *Data:
		w.flows.data(e)
	case *DNS:
		w.now = max(w.now, e.Time+e.Duration)
		w.dns(e)
	case *Call:
		w.flows.call(e)
	}
	w.flows.retransmit(w.now)
	for w.heldBytes > maxHeld {
		w.release()
	}
	if len(w.buf) >= flushAt {
		return w.write()
	}
	return nil
}

// Flush writes all packets that are held. Older packets that are added later are then out
// of order.
func (w *pcapWriter) Flush() error {
	for len(w.held) > 0 {
		w.release()
	}
	return w.write()
}

func (w *pcapWriter) write() error {
	_, err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func (w *pcapWriter) Close() error {
	w.flows.end(w.now)
	if !w.began {
		w.section("")
	}
	return w.Flush()
}

// header writes the section header block when it sees the first header. Each node is an
// interface.
func (w *pcapWriter) header(e *Header) {
	if !w.began {
		w.section(e.Boxer)
	}
	w.head.add(e)
	for _, a := range e.Addrs {
		w.name(a, e.Node)
	}
}

// section writes the section header block.
func (w *pcapWriter) section(version string) {
	w.began = true
	w.block(blockSection, func() {
		w.u32(0x1a2b3c4d)
		w.u32(1)          // version 1.0
		w.u32(0xffffffff) // section length: not specified
		w.u32(0xffffffff)
		w.option(optionUserAppl, words("boxer", version))
		w.u32(optionEnd)
	})
}

// interfaceOf returns the ID of a node's interface. It writes the interface description
// block the first time.
func (w *pcapWriter) interfaceOf(source int) uint32 {
	if n, ok := w.interfaces[source]; ok {
		return n
	}
	if !w.began {
		w.section("")
	}
	n := uint32(len(w.interfaces))
	w.interfaces[source] = n
	h := w.head.headers[source]
	w.block(blockInterface, func() {
		w.u32(linkRaw)
		w.u32(0) // snapshot length: no limit
		w.option(optionName, w.head.name(source))
		if h != nil {
			w.option(optionAbout, words("boxer node", h.Node,
				iff(h.Program != "", "running "+h.Program)))
		}
		w.option(optionResolving, "\x09") // nanoseconds
		w.u32(optionEnd)
	})
	return n
}

// name writes a name resolution block for an address, unless it has done so before.
func (w *pcapWriter) name(a netip.Addr, name string) {
	a = a.Unmap().WithZone("")
	if name == "" || !a.IsValid() || a.IsLoopback() || w.names[a] == name ||
		len(w.names) >= maxNames {
		return
	}
	if !w.began {
		w.section("")
	}
	w.names[a] = name
	w.block(blockNames, func() {
		kind := uint16(1)
		if a.Is6() {
			kind = 2
		}
		w.buf = binary.LittleEndian.AppendUint16(w.buf, kind)
		w.buf = binary.LittleEndian.AppendUint16(w.buf,
			uint16(len(a.AsSlice())+len(name)+1))
		w.buf = append(append(append(w.buf, a.AsSlice()...), name...), 0)
		w.pad()
		w.u32(0) // nrb_record_end
	})
}

// send queues a packet. The packet is written when no older ones are expected any more.
func (w *pcapWriter) send(source int, at time.Duration, outbound bool, s *segment,
	comment string) {
	p := &packet{at: at, order: w.count, source: source, comment: comment, direction: 1}
	if outbound {
		p.direction = 2
	}
	p.data, p.full = s.packet(nil, uint16(w.count))
	w.count++
	w.heldBytes += p.size()
	heap.Push(&w.held, p)
}

// size returns about how much memory a packet takes, in bytes.
func (p *packet) size() int { return len(p.data) + len(p.comment) + 128 }

// release writes the oldest packet.
func (w *pcapWriter) release() {
	p := heap.Pop(&w.held).(*packet)
	w.heldBytes -= p.size()
	number := w.interfaceOf(p.source)
	at := uint64(w.head.start().Add(p.at).UnixNano())
	w.block(blockPacket, func() {
		w.u32(number)
		w.u32(uint32(at >> 32))
		w.u32(uint32(at))
		w.u32(uint32(len(p.data)))
		w.u32(uint32(p.full))
		w.buf = append(w.buf, p.data...)
		w.pad()
		if p.comment != "" {
			w.option(optionComment, p.comment)
		}
		w.option(optionFlags, string([]byte{byte(p.direction), 0, 0, 0}))
		w.u32(optionEnd)
	})
}

// block writes a block. inside writes the block's body.
func (w *pcapWriter) block(kind uint32, inside func()) {
	start := len(w.buf)
	w.u32(kind)
	w.u32(0)
	inside()
	length := uint32(len(w.buf) - start + 4)
	w.u32(length)
	binary.LittleEndian.PutUint32(w.buf[start+4:], length)
}

func (w *pcapWriter) u32(v uint32) { w.buf = binary.LittleEndian.AppendUint32(w.buf, v) }

// option writes an option, whose value it truncates to what the 16-bit length allows.
func (w *pcapWriter) option(code uint16, value string) {
	value = value[:min(len(value), 0xffff)]
	w.buf = binary.LittleEndian.AppendUint16(w.buf, code)
	w.buf = binary.LittleEndian.AppendUint16(w.buf, uint16(len(value)))
	w.buf = append(w.buf, value...)
	for range -len(value) & 3 {
		w.buf = append(w.buf, 0)
	}
}

// pad pads to a multiple of 4 bytes. Every block begins at a multiple of 4 in buf.
func (w *pcapWriter) pad() {
	for len(w.buf)%4 != 0 {
		w.buf = append(w.buf, 0)
	}
}

// packetHeap is a heap with the oldest packet on top.
type packetHeap []*packet

func (h packetHeap) Len() int      { return len(h) }
func (h packetHeap) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h packetHeap) Less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].order < h[j].order
}

// Push implements heap.Interface.
func (h *packetHeap) Push(x any) { *h = append(*h, x.(*packet)) }

// Pop implements heap.Interface.
func (h *packetHeap) Pop() any {
	last := len(*h) - 1
	p := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return p
}
