package launcher

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/trace"
	"github.com/boxer-sandbox/boxer/transport"
)

// A connTrace records the events of one connection.
type connTrace struct {
	r      *recorder
	id     trace.ConnID
	ends   syscalls.Ends
	role   string
	proto  string
	began  time.Time
	opened time.Time
	peer   string
	peerID uint32
	path   string
	rtt    time.Duration
	stream int64
	snap   int // how many bytes of each piece the trace keeps

	direct bool // the kernel's TCP carries it

	sent, received         atomic.Uint64
	sentSegs, receivedSegs atomic.Uint64
	// directions that have ended: bit 1 is reading, bit 2 is writing
	over  atomic.Uint32
	first atomic.Pointer[ending]
}

// An ending is the reason why a connection ended, or its first direction did.
type ending struct {
	errno  string
	byPeer bool
	reason string
}

// An outcome is what the event of a call says about its connection.
type outcome struct {
	id     trace.ConnID
	path   string
	reason string
}

// maxOutcomes bounds the ended connections that the recorder remembers, for events of
// calls that are emitted later.
const maxOutcomes = 1 << 12

// slowConnect is how long a connect may take before the trace reports what it waits for.
const slowConnect = time.Second

// newConnID returns an ID for a connection. The far side receives it with the connection.
func newConnID() trace.ConnID { return trace.ConnID(rand.Uint64() | 1) }

// derivedConnID returns an ID for a connection that carries none. It derives the ID from
// what both sides know about the connection.
func derivedConnID(ends syscalls.Ends, stream int64) trace.ConnID {
	h := fnv.New64a()
	for _, a := range []netip.AddrPort{ends.Local, ends.Remote} {
		b, _ := a.MarshalBinary()
		h.Write(b)
	}
	h.Write(binary.BigEndian.AppendUint64(nil, uint64(stream)))
	return trace.ConnID(h.Sum64() | 1)
}

func (r *recorder) newConnTrace(id trace.ConnID, role, proto string,
	ends syscalls.Ends) *connTrace {
	f := &connTrace{r: r, id: id, ends: ends, role: role, proto: proto, began: time.Now(),
		snap: r.bytes()}
	if who, ok := r.member.client.ByAddr(ends.Remote.Addr()); ok {
		f.peer, f.peerID = nameOf(who), who.ID
	}
	return f
}

// eventLocked returns an event with what is known about the connection now.
func (f *connTrace) eventLocked(state trace.ConnState) *trace.Connection {
	return &trace.Connection{
		Base: f.r.now(), State: state, ID: f.id, Role: f.role, Proto: f.proto,
		Local: f.ends.Local, Remote: f.ends.Remote, Peer: f.peer, Path: f.path,
		Stream: f.stream, RTT: f.rtt,
		Sent: f.sent.Load(), Received: f.received.Load(), SegmentsSent: f.sentSegs.Load(),
		SegmentsReceived: f.receivedSegs.Load(),
	}
}

// look updates the path to the peer. It locks, because another goroutine may read it now
// for a new subscriber: see recorder.add.
func (f *connTrace) look() {
	for _, p := range f.r.member.node.Paths() {
		if p.ID == f.peerID {
			f.r.mu.Lock()
			f.path, f.rtt = pathText(p.Kind), p.RTT
			if f.direct {
				f.path = directPath
			}
			f.r.mu.Unlock()
		}
	}
}

// connecting emits the start of a connect. If the connect is slow, it later emits what
// the connect waits for.
func (f *connTrace) connecting() (stop func() bool) {
	f.r.mu.Lock()
	f.r.noteLocked(f.ends, outcome{id: f.id})
	f.r.mu.Unlock()
	f.r.put(f.eventLocked(trace.Connecting))
	return time.AfterFunc(slowConnect, func() {
		slow := *f.copyForEvent()
		e := slow.eventLocked(trace.Connecting)
		e.Setup = time.Since(f.began)
		e.Reason = slow.waitsFor()
		f.r.put(e)
	}).Stop
}

// directPath is the path of connections that the kernel's TCP carries.
const directPath = "direct"

// openDirect emits that a direct connection is established. The returned function emits
// its end. The kernel counts the peer's FIN as a byte received.
func (f *connTrace) openDirect() func(sent, received uint64) {
	f.direct = true
	f.open()
	return func(sent, received uint64) {
		f.sent.Store(sent)
		f.received.Store(received)
		f.closed(&ending{reason: "closed by the programs"})
	}
}

// copyForEvent returns a copy of f with f's current path.
func (f *connTrace) copyForEvent() *connTrace {
	c := &connTrace{r: f.r, id: f.id, ends: f.ends, role: f.role, proto: f.proto,
		began: f.began, peer: f.peer, peerID: f.peerID}
	c.look()
	return c
}

// waitsFor describes what a connect waits for.
func (f *connTrace) waitsFor() string {
	if f.path == "" {
		return fmt.Sprintf("waits for a path to %s: no packet comes back, neither directly nor through the coordinator", f.where())
	}
	return fmt.Sprintf("waits for the answer of %s: the queue of its listener is full, or it is stopped", f.where())
}

// where returns the name and address of the far end.
func (f *connTrace) where() string {
	if f.peer == "" {
		return f.ends.Remote.String()
	}
	return fmt.Sprintf("%s (%v)", f.peer, f.ends.Remote)
}

// open emits that the connection is established.
func (f *connTrace) open() {
	f.look()
	f.opened = time.Now()
	f.r.mu.Lock()
	f.r.flows[f] = struct{}{}
	f.r.noteLocked(f.ends, outcome{f.id, f.path, ""})
	e := f.eventLocked(trace.Opened)
	f.r.mu.Unlock()
	e.Setup = f.opened.Sub(f.began)
	f.r.put(e)
}

// fail emits why the connection could not be established.
func (f *connTrace) fail(err error) {
	f.look()
	reason, errno := f.failure(err)
	f.r.mu.Lock()
	f.r.noteLocked(f.ends, outcome{f.id, f.path, reason})
	f.r.mu.Unlock()
	e := f.eventLocked(trace.Failed)
	e.Setup, e.Reason, e.Errno = time.Since(f.began), reason, unix.ErrnoName(errno)
	f.r.put(e)
}

// failure describes why a connect failed, and returns the errno.
func (f *connTrace) failure(err error) (string, unix.Errno) {
	errno := syscalls.Errno(err)
	var status *transport.StatusError
	switch {
	case errors.Is(err, context.Canceled):
		return "the program has given up: it " + f.waitsFor(), errno
	case errors.Is(err, transport.ErrNoPath):
		return fmt.Sprintf("no path to %s: it does not answer, neither directly nor through the coordinator", f.where()), errno
	case errors.As(err, &status) && status.Status == transport.StatusRefused,
		errno == unix.ECONNREFUSED:
		return fmt.Sprintf("refused by %s: nobody listens on port %d there", f.where(),
			f.ends.Remote.Port()), errno
	case errors.As(err, &status):
		return fmt.Sprintf("%s by %s", status.Status, f.where()), errno
	case f.peer == "":
		return fmt.Sprintf("no node has the address %v", f.ends.Remote.Addr()), errno
	}
	return fmt.Sprintf("%s: %v", f.where(), err), errno
}

// end records that directions have ended. The connection ends with the second of them.
// Its reason is that of the first ending, or of the first one that was an error.
func (f *connTrace) end(directions uint32, why *ending) {
	if first := f.first.Load(); first == nil || first.errno == "" && why.errno != "" {
		f.first.CompareAndSwap(first, why)
	}
	const both = 3
	old := f.over.Or(directions)
	if old == both || old|directions != both {
		return
	}
	f.closed(f.first.Load())
}

// closed emits the end once. The trace may end at the same time as the connection: see
// closeFlows.
func (f *connTrace) closed(why *ending) {
	f.look()
	f.r.mu.Lock()
	_, open := f.r.flows[f]
	delete(f.r.flows, f)
	e := f.eventLocked(trace.Closed)
	f.r.mu.Unlock()
	if !open {
		return
	}
	e.Duration = time.Since(f.opened)
	if why != nil {
		e.Errno, e.ByPeer, e.Reason = why.errno, why.byPeer, why.reason
	}
	f.r.put(e)
}

func (r *recorder) noteLocked(ends syscalls.Ends, o outcome) {
	ends.SameHost = false
	if len(r.ended) >= maxOutcomes {
		clear(r.ended)
	}
	r.ended[ends] = o
}

// outcomeOf returns the outcome of the connection with these ends.
func (r *recorder) outcomeOf(ends syscalls.Ends) outcome {
	r.mu.Lock()
	defer r.mu.Unlock()
	ends.SameHost = false
	return r.ended[ends]
}

var _ syscalls.Stream = (*tracedStream)(nil)

// A tracedStream counts the bytes that a stream carries and records how it ends.
type tracedStream struct {
	inboundStream
	f *connTrace
}

// traced begins the trace of an established stream.
func (f *connTrace) traced(s inboundStream) *tracedStream {
	f.stream = s.ID()
	f.open()
	return &tracedStream{s, f}
}

func (s *tracedStream) Read(b []byte) (int, error) {
	n, err := s.inboundStream.Read(b)
	if n > 0 {
		s.f.piece(b[:n], true)
	}
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		s.f.end(1, &ending{byPeer: true, reason: "closed by " + s.f.who()})
	default:
		s.f.end(1, s.f.broken(err))
	}
	return n, err
}

// Wait implements transport.Stream. An error ends the direction.
func (s *tracedStream) Wait() error {
	err := s.inboundStream.Wait()
	if err != nil {
		s.f.end(1, s.f.broken(err))
	}
	return err
}

func (s *tracedStream) Write(b []byte) (int, error) {
	n, err := s.inboundStream.Write(b)
	if n > 0 {
		s.f.piece(b[:n], false)
	}
	if err != nil {
		s.f.end(2, s.f.broken(err))
	}
	return n, err
}

func (s *tracedStream) CloseWrite() error {
	err := s.inboundStream.CloseWrite()
	s.f.end(2, &ending{reason: "closed by the program"})
	return err
}

func (s *tracedStream) CloseRead() error {
	err := s.inboundStream.CloseRead()
	s.f.end(1, &ending{reason: "closed by the program, which read no more"})
	return err
}

func (s *tracedStream) Reset() {
	s.inboundStream.Reset()
	s.f.end(3, &ending{errno: "ECONNRESET",
		reason: "reset by the program: it was killed, or closed the socket with data unread"})
}

// who returns a description of the peer's program.
func (f *connTrace) who() string {
	if f.peer == "" {
		return "the peer"
	}
	return f.peer
}

// broken describes what an error of the stream means.
func (f *connTrace) broken(err error) *ending {
	switch {
	case errors.Is(err, transport.ErrReset):
		return &ending{"ECONNRESET", true, "reset by " + f.where()}
	case errors.Is(err, transport.ErrLost):
		return &ending{"ECONNRESET", true,
			fmt.Sprintf("lost the path to %s: it has died, left, or cannot be reached any more", f.who())}
	}
	return &ending{"", false, "ended here"}
}

// piece counts the carried bytes, and emits the first of them if a subscriber wants
// payload.
func (f *connTrace) piece(b []byte, received bool) {
	bytes, segments := &f.sent, &f.sentSegs
	if received {
		bytes, segments = &f.received, &f.receivedSegs
	}
	before := bytes.Add(uint64(len(b))) - uint64(len(b))
	segments.Add(1)
	if f.snap > 0 {
		f.r.put(&trace.Data{Base: f.r.now(), Conn: f.id, Received: received,
			Offset: before, Length: len(b),
			Payload: append([]byte(nil), b[:min(len(b), f.snap)]...)})
	}
}
