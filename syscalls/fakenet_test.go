package syscalls

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/internal/streamtest"
	"github.com/boxer-sandbox/boxer/stream"
)

// A fakeNet is a network in memory: it joins nodes of this process. It implements
// Network.
type fakeNet struct {
	mu         sync.Mutex
	nodes      map[netip.Addr]*Node
	errnos     map[netip.Addr]unix.Errno           // what connects to an address fail with
	silent     map[netip.Addr]chan struct{}        // connects to it wait until it is closed
	sameHost   bool                                // the nodes are on one host
	optimistic bool                                // connects to listeners with room do not wait
	credits    map[netip.AddrPort]int              // what was announced last
	dialled    chan netip.AddrPort                 // if not nil, gets the destination of each Dial
	streams    []*fakeStream                       // all that were opened, both ends
	direct     func(dst netip.AddrPort) DirectDial // nil: no connection is direct
	tasks      sync.WaitGroup                      // the accepting ends
}

func newFakeNet() *fakeNet {
	return &fakeNet{nodes: map[netip.Addr]*Node{}, errnos: map[netip.Addr]unix.Errno{},
		silent: map[netip.Addr]chan struct{}{}}
}

// Dial implements Network: the far side's node accepts, as in launcher.
func (f *fakeNet) Dial(ctx context.Context, o Opening) (Stream, error) {
	dst := o.Destination
	f.mu.Lock()
	wait, dialled := f.silent[dst.Addr()], f.dialled
	f.mu.Unlock()
	if dialled != nil {
		dialled <- dst
	}
	if wait != nil {
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	f.mu.Lock()
	node, errno := f.nodes[dst.Addr()], f.errnos[dst.Addr()]
	f.mu.Unlock()
	if errno != 0 {
		return nil, errno
	}
	if node == nil {
		return nil, unix.EHOSTUNREACH
	}
	accepted, err := node.Accept(ctx, o)
	if err != nil {
		return nil, err
	}
	near, far := newFakeStreams()
	f.mu.Lock()
	f.streams = append(f.streams, near, far)
	f.mu.Unlock()
	far.SetIPFields(accepted.IP)
	far.in.ip = o.IP
	f.tasks.Go(func() { accepted.Run(far) })
	return near, nil
}

// Announce implements Network.
func (f *fakeNet) Announce(dst netip.AddrPort, credit int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.credits == nil {
		f.credits = make(map[netip.AddrPort]int)
	}
	f.credits[dst] = credit
}

// credit returns what was announced last of a listener.
func (f *fakeNet) credit(dst netip.AddrPort) (credit int, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	credit, ok = f.credits[dst]
	return credit, ok
}

// DialOptimistic implements Network. It goes by the credit itself, not by what was
// announced: listeners of tests are small.
func (f *fakeNet) DialOptimistic(o Opening) (Stream, bool) {
	dst := o.Destination
	f.mu.Lock()
	node := f.nodes[dst.Addr()]
	optimistic := f.optimistic
	f.mu.Unlock()
	if !optimistic || node == nil {
		return nil, false
	}
	for _, l := range node.ports.find(dst.Port(), dst.Addr(), wildcardOf(dst.Addr())) {
		if node.listeners.backlogRoom(l.kernel) > 0 {
			s, err := f.Dial(context.Background(), o)
			return s, err == nil
		}
	}
	return nil, false
}

// DialDirect implements Network.
func (f *fakeNet) DialDirect(dst netip.AddrPort) (DirectDial, bool) {
	f.mu.Lock()
	direct := f.direct
	f.mu.Unlock()
	if direct == nil {
		return nil, false
	}
	d := direct(dst)
	return d, d != DirectDial(nil)
}

var (
	_ Network = (*fakeNet)(nil)
	_ Stream  = (*fakeStream)(nil)
)

// A fakeStream is one end of a connection in memory. It implements Stream.
type fakeStream struct{ in, out *direction }

func newFakeStreams() (a, b *fakeStream) {
	there, back := newDirection(), newDirection()
	return &fakeStream{in: back, out: there}, &fakeStream{in: there, out: back}
}

func (s *fakeStream) MarkUrgent() error           { s.out.mark(); return nil }
func (s *fakeStream) UrgentIn(n int) int          { return s.in.urgentIn(n) }
func (s *fakeStream) Read(b []byte) (int, error)  { return s.in.read(b) }
func (s *fakeStream) Write(b []byte) (int, error) { return s.out.write(b) }
func (s *fakeStream) CloseWrite() error           { s.out.finish(); return nil }
func (s *fakeStream) CloseRead() error            { s.in.stop(); return nil }
func (s *fakeStream) Reset()                      { s.in.reset(); s.out.abandon() }
func (s *fakeStream) Wait() error                 { return s.in.wait() }
func (s *fakeStream) Flush() error                { return nil }

// SetIPFields implements Stream.
func (s *fakeStream) SetIPFields(f stream.IPFields) {
	s.out.set(func() {
		s.out.ip = f
		if s.out.onIP != nil {
			s.out.onIP(f)
		}
	})
}

// OnIPFields implements Stream.
func (s *fakeStream) OnIPFields(f func(stream.IPFields)) (now stream.IPFields) {
	s.in.set(func() { now, s.in.onIP = s.in.ip, f })
	return now
}

// OnStopSending implements Stream.
func (s *fakeStream) OnStopSending(f func()) (stop func() bool) {
	return context.AfterFunc(s.out.refused, func() {
		if !s.out.ended() {
			f()
		}
	})
}

// streamWindow bounds what a direction holds unread, in bytes.
const streamWindow = 256 << 10

// errReset is what a reader gets whose peer has reset, and a writer whose peer does not
// read.
var errReset = errors.New("stream reset by peer")

// A direction is half of a connection.
type direction struct {
	mu       sync.Mutex
	changed  sync.Cond
	buf      []byte
	most     int  // the most that buf has held
	finished bool // after buf comes EOF
	stopped  bool // nobody reads
	dead     bool // reset

	ip   stream.IPFields // of the writer
	onIP func(stream.IPFields)

	taken int   // bytes that were read
	marks []int // which bytes are urgent

	refused   context.Context // ends when the reader has stopped or reset
	refuse    context.CancelFunc
	abandoned bool // the writer has reset
}

func newDirection() *direction {
	d := &direction{}
	d.changed.L = &d.mu
	d.refused, d.refuse = context.WithCancel(context.Background())
	return d
}

func (d *direction) read(b []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for {
		switch {
		case d.dead:
			return 0, errReset
		case d.stopped:
			return 0, net.ErrClosed
		case len(d.buf) > 0:
			n := copy(b, d.buf)
			d.taken += n
			d.buf = append(d.buf[:0], d.buf[n:]...)
			d.changed.Broadcast()
			return n, nil
		case d.finished:
			return 0, io.EOF
		}
		d.changed.Wait()
	}
}

// wait waits until read would not wait.
func (d *direction) wait() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.dead && !d.stopped && len(d.buf) == 0 && !d.finished {
		d.changed.Wait()
	}
	return nil
}

// ended reports whether the writer itself has ended the direction.
func (d *direction) ended() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.finished || d.abandoned
}

func (d *direction) write(b []byte) (n int, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(b) > 0 {
		switch {
		case d.dead, d.stopped:
			return n, errReset
		case d.finished:
			return n, net.ErrClosed
		case len(d.buf) < streamWindow:
			k := min(len(b), streamWindow-len(d.buf))
			d.buf = append(d.buf, b[:k]...)
			d.most = max(d.most, len(d.buf))
			b, n = b[k:], n+k
			d.changed.Broadcast()
			continue
		}
		d.changed.Wait()
	}
	return n, nil
}

func (d *direction) mark() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.marks = append(d.marks, d.taken+len(d.buf))
}

func (d *direction) urgentIn(n int) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.marks) == 0 || d.marks[0] >= d.taken {
		return -1
	}
	at := d.marks[0] - (d.taken - n)
	d.marks = d.marks[1:]
	return at
}

func (d *direction) set(f func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f()
	d.changed.Broadcast()
}

func (d *direction) finish() { d.set(func() { d.finished = true }) }

func (d *direction) stop() {
	d.set(func() { d.stopped = true })
	d.refuse()
}

// kill leaves a direction alone that has come to its end, as there is nobody to tell.
func (d *direction) kill() { d.dead = d.dead || !(d.finished && len(d.buf) == 0) }

// reset is the reader's.
func (d *direction) reset() {
	d.set(d.kill)
	d.refuse()
}

// abandon is the writer's reset.
func (d *direction) abandon() {
	d.set(func() {
		d.kill()
		d.abandoned = true
	})
}

// TestFakeStream holds the fake to what Stream promises: the tests of the relay rest on
// it.
func TestFakeStream(t *testing.T) {
	streamtest.Test(t, streamtest.Abilities{Urgent: true, StopSending: true, IPFields: true},
		func(*testing.T) (a, b Stream) { return newFakeStreams() })
}
