package transport

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/virtualtime"
)

// A testWire lets a test see what a Socket sends, and lose what it sends and receives.
type testWire struct {
	wire
	// lost reports whether the network loses what goes to, or comes from, an address.
	lost atomic.Pointer[func(remote netip.AddrPort, out bool) bool]
	// observed sees all that is sent.
	observed atomic.Pointer[func(b []byte, to netip.AddrPort)]
}

// hook puts a testWire under a Socket that was not used yet.
func hook(s *Socket) *testWire {
	w := &testWire{wire: s.wire}
	s.wire = w
	return w
}

func (w *testWire) loses(remote netip.AddrPort, out bool) bool {
	f := w.lost.Load()
	return f != nil && (*f)(remote, out)
}

func (w *testWire) send(b, oob []byte, to netip.AddrPort) error {
	if f := w.observed.Load(); f != nil {
		(*f)(b, to)
	}
	if w.loses(to, true) {
		return nil
	}
	return w.wire.send(b, oob, to)
}

func (w *testWire) datagram(i int) (data, control []byte, from netip.AddrPort,
	whole bool) {
	data, control, from, whole = w.wire.datagram(i)
	return data, control, from, whole && !w.loses(from, false)
}

// A memNet is a network in memory. With testing/synctest it works in virtual time: a
// datagram takes memDelay, and what a test waits for takes none of the machine's time.
type memNet struct {
	mu    sync.Mutex
	wires map[netip.AddrPort]*memWire
}

const (
	// memDelay is the way of a datagram.
	memDelay = 50 * time.Microsecond
	// memQueue is how many sends wait for a receiver, as in a socket's buffer. More are
	// lost.
	memQueue = 256
	// memLimit bounds the virtual time of a test.
	memLimit = 5 * time.Minute
)

// virtual runs a test in virtual time, on a lab in memory. When the test ends, no
// goroutine may be left: synctest would report a deadlock.
func virtual(t *testing.T, test func(t *testing.T, l *lab)) {
	suppressBufferWarning() // once for the process, so not inside
	virtualtime.Test(t, func(t *testing.T) {
		// A test that waits in vain would go on as long as anybody has a timer.
		watchdog := time.AfterFunc(memLimit,
			func() { panic(t.Name() + ": waits in vain") })
		defer watchdog.Stop()
		n := &memNet{wires: make(map[netip.AddrPort]*memWire)}
		server, err := n.listen()
		if err != nil {
			t.Fatal(err)
		}
		test(t, newLabOn(t, server, func(uint32) (*Socket, error) { return n.listen() }))
	})
}

// listen makes a Socket in the network. A UDP socket lends it its address and its
// options, and never carries a packet.
func (n *memNet) listen() (*Socket, error) {
	s, err := Listen(loopback())
	if err != nil {
		return nil, err
	}
	w := &memWire{net: n, at: s.LocalAddr(), conn: s.conn,
		queue: make(chan memDatagram, memQueue), expired: make(chan struct{})}
	s.wire = w
	n.mu.Lock()
	defer n.mu.Unlock()
	n.wires[w.at] = w
	return s, nil
}

// A memDatagram is what one send has sent.
type memDatagram struct {
	data, control []byte
	from          netip.AddrPort
	at            time.Time // when it arrives
}

// A memWire is one end of a memNet.
type memWire struct {
	net   *memNet
	at    netip.AddrPort
	conn  *net.UDPConn
	queue chan memDatagram
	batch []memDatagram // of the last receive

	mu      sync.Mutex
	expired chan struct{} // closed when the read deadline has passed
}

func (w *memWire) send(b, oob []byte, to netip.AddrPort) error {
	w.net.mu.Lock()
	defer w.net.mu.Unlock()
	dest := w.net.wires[to]
	if dest == nil {
		return nil
	}
	d := memDatagram{data: slices.Clone(b), from: w.at, at: time.Now().Add(memDelay)}
	if size := segmentSize(oob); size != 0 { // as UDP_GRO puts them together
		d.control = unixCmsg(unix.CmsgLen(4), unix.IPPROTO_UDP, unix.UDP_GRO,
			binary.NativeEndian.AppendUint32(nil, uint32(size))...)
	}
	select {
	case dest.queue <- d:
	default: // lost
	}
	return nil
}

func (w *memWire) receive() (int, error) {
	w.mu.Lock()
	expired := w.expired
	w.mu.Unlock()
	select {
	case <-expired:
		return 0, os.ErrDeadlineExceeded
	case d := <-w.queue:
		time.Sleep(time.Until(d.at))
		w.batch = append(w.batch[:0], d)
	}
	return len(w.batch), nil
}

func (w *memWire) datagram(i int) (data, control []byte, from netip.AddrPort,
	whole bool) {
	d := w.batch[i]
	return d.data, d.control, d.from, true
}

// setReadDeadline knows deadlines that have passed, which is all that quic-go sets.
func (w *memWire) setReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if t.IsZero() {
		w.expired = make(chan struct{})
		return nil
	}
	select {
	case <-w.expired:
	default:
		close(w.expired)
	}
	return nil
}

func (w *memWire) close() error {
	w.net.mu.Lock()
	delete(w.net.wires, w.at)
	w.net.mu.Unlock()
	return w.conn.Close()
}
