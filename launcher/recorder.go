package launcher

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/syscalls/strace"
	"github.com/boxer-sandbox/boxer/trace"
	"github.com/boxer-sandbox/boxer/transport"
)

// A recorder takes down what a node's programs call and what becomes of their
// connections, and gives it to those who want to know. What the answering threads
// do for it is to put records in a queue; a goroutine makes events of them.
type recorder struct {
	start  time.Time // the events' time 0
	wall   time.Time // the same instant, by the wall clock
	member *member
	calls  *syscalls.Node

	stop    chan struct{}      // closed to end run
	flushes chan chan struct{} // see flush
	done    chan struct{}      // closed when run has ended

	spare     []queued      // the queue before, to be used again; run's
	settling  []queued      // what has left the queue and is very new; run's
	following []trace.Event // of calls that were told; run's
	// calls in settling that have waited, and not for long; run's
	short map[uint64]struct{}

	mu          sync.Mutex
	subscribers []*subscriber
	queue       []queued
	lost        uint64 // did not find room in the queue
	threads     map[int]thread
	flows       map[*connTrace]struct{}
	udp         map[syscalls.Ends]*connTrace
	ended       map[syscalls.Ends]outcome // of connections that have ended lately
	// whose connection it is, as calls have told
	whose map[syscalls.Ends]trace.Thread
	procs map[int]*process
	execs map[uint64]*execAttempt // by the call's ID
	// boxer-init's process, whose calls are not the program's
	skip  int
	begun bool // boxer-init's child has become the program
	over  bool
	clock *trace.Clock // as measured; nil: not yet
}

// A subscriber gets events.
type subscriber struct {
	sink  *trace.Sink
	bytes int  // of payload
	fds   bool // wants to know what descriptors are
	shown []uintptr
}

// A queued is one of the two.
type queued struct {
	record *syscalls.Record
	event  trace.Event

	peer coordinator.Member // of record: the node at the far end, as far as known
}

// A thread is what is known of one that calls.
type thread struct {
	trace.Thread
	parent int // of the process
	looked time.Time
}

const (
	// maxQueued bounds what waits to be made into events: of each call a record of 1 KiB
	// or so.
	maxQueued = 1 << 14
	// recordEvery is how often the queue is looked at. Nobody is woken for it: a
	// wake-up costs the answering thread as much as a call.
	recordEvery = 20 * time.Millisecond
	// maxThreads bounds what is known of threads.
	maxThreads = 1 << 12
	// threadFor is how long a thread keeps its process and its name, for us.
	threadFor = time.Second
	// heldFor is how long a call waits before its beginning is told.
	heldFor = 100 * time.Millisecond
)

func newRecorder(m *member, calls *syscalls.Node) *recorder {
	now := time.Now()
	r := &recorder{
		start: now, wall: now.Round(0), member: m, calls: calls,
		stop: make(chan struct{}), done: make(chan struct{}),
		flushes: make(chan chan struct{}),
		threads: make(map[int]thread), flows: make(map[*connTrace]struct{}),
		ended: make(map[syscalls.Ends]outcome),
		udp:   make(map[syscalls.Ends]*connTrace),
		whose: make(map[syscalls.Ends]trace.Thread),
		short: make(map[uint64]struct{}), procs: make(map[int]*process),
		execs: make(map[uint64]*execAttempt),
	}
	go r.run()
	return r
}

// close ends the recorder: what is queued is told first.
func (r *recorder) close() {
	r.calls.Trace(nil)
	r.closeConns()
	close(r.stop)
	<-r.done
}

// now is the time, as events have it.
func (r *recorder) now() trace.Base { return trace.Base{Time: time.Since(r.start)} }

// Called implements syscalls.Tracer.
func (r *recorder) Called(rec *syscalls.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.threadLocked(rec.TID, rec.Start)
	switch {
	case r.skip != 0 && t.PID == r.skip, rec.Outcome != strace.Waits &&
		!r.noteProcessLocked(rec, t):
		rec.Release()
		return
	case r.over || len(r.queue) >= maxQueued:
		if !r.over {
			r.lost++
		}
		delete(r.execs, rec.ID)
		rec.Release()
		return
	}
	q := queued{record: rec}
	if rec.Ends.Remote.IsValid() { // it may have left when the event is made
		q.peer, _ = r.member.client.ByAddr(rec.Ends.Remote.Addr())
		r.ownedLocked(rec.Ends, t.Thread)
	}
	r.queue = append(r.queue, q)
}

// put queues an event, in its place among the calls.
func (r *recorder) put(e trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || len(r.queue) >= maxQueued {
		r.lost++
		return
	}
	r.queue = append(r.queue, queued{event: e})
}

// threadLocked says whose a thread is. It looks when the thread is there: it has
// just called.
func (r *recorder) threadLocked(tid int, now time.Time) thread {
	t, ok := r.threads[tid]
	if ok && now.Sub(t.looked) < threadFor {
		return t
	}
	if len(r.threads) >= maxThreads {
		clear(r.threads)
	}
	if found, err := lookThread(tid); err == nil {
		t = found
		t.looked = now
	} else if !ok {
		t = thread{Thread: trace.Thread{PID: tid, TID: tid}, looked: now}
	}
	r.threads[tid] = t
	return t
}

// ownedLocked notes whose connection it is: its events tell of that thread.
func (r *recorder) ownedLocked(ends syscalls.Ends, t trace.Thread) {
	ends.SameHost = false
	if len(r.whose) >= maxOutcomes {
		clear(r.whose)
	}
	r.whose[ends] = t
}

// named fills in whose connection an event is about, if a call has told.
func (r *recorder) named(e trace.Event) trace.Event {
	c, ok := e.(*trace.Connection)
	if !ok || c.TID != 0 {
		return e
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c.Thread = r.whose[syscalls.Ends{Local: c.Local, Remote: c.Remote}]
	return c
}

// lookThread reads /proc/TID/status (proc(5)).
func lookThread(tid int) (t thread, err error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/%d/status", tid),
		unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return t, err
	}
	defer unix.Close(fd)
	var buf [512]byte
	n, err := unix.Read(fd, buf[:])
	if err != nil {
		return t, err
	}
	t.TID, t.PID = tid, tid
	for line := range strings.SplitSeq(string(buf[:n]), "\n") {
		if name, ok := strings.CutPrefix(line, "Name:\t"); ok {
			t.Comm = name
		} else if pid, ok := strings.CutPrefix(line, "Tgid:\t"); ok {
			if t.PID, err = strconv.Atoi(pid); err != nil {
				return t, err
			}
		} else if pid, ok := strings.CutPrefix(line, "PPid:\t"); ok {
			t.parent, err = strconv.Atoi(pid)
			return t, err
		}
	}
	return t, os.ErrInvalid
}

// measureClock tells how the clock differs from the coordinator's, once.
func (r *recorder) measureClock(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, clockWithin)
	defer cancel()
	if offset, bound, err := r.member.client.Clock(ctx); err == nil {
		r.mu.Lock()
		r.clock = &trace.Clock{Base: r.now(), ClockOffset: offset, ClockError: bound}
		r.mu.Unlock()
		r.put(r.clock)
	}
}

// clockWithin bounds how long the clock is measured.
const clockWithin = 5 * time.Second

// run makes events of what is queued until the recorder is closed.
func (r *recorder) run() {
	defer close(r.done)
	ctx, cancel := context.WithCancel(context.Background())
	var clock sync.WaitGroup
	clock.Go(func() { r.measureClock(ctx) })
	defer clock.Wait()
	defer cancel()
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	// calls that wait, and whose beginning is told
	told := make(map[uint64]*syscalls.Record)
	for {
		last := false
		var flushed chan struct{}
		select {
		case <-tick.C:
		case flushed = <-r.flushes:
		case <-r.stop:
			last = true
		}
		r.lookAtProcesses(last)
		batch, lost, subscribers := r.takeQueue(last, last || flushed != nil)
		for _, q := range batch {
			r.giveFollowing(subscribers, q.at(r))
			if q.event != nil {
				give(subscribers, r.named(q.event))
				continue
			}
			r.tell(subscribers, q, told)
		}
		r.giveFollowing(subscribers, time.Since(r.start))
		if lost > 0 {
			give(subscribers, &trace.Dropped{Base: r.now(), Count: lost})
		}
		if flushed != nil {
			close(flushed)
		}
		if last {
			return
		}
	}
}

// flush waits until the subscribers have what has come so far.
func (r *recorder) flush() {
	flushed := make(chan struct{})
	r.flushes <- flushed
	<-flushed
}

// settleFor is how long what is queued waits for what began earlier, and is told when it
// has ended: calls that take longer have a beginning of their own.
const settleFor = heldFor + 20*time.Millisecond

// at is its place: when a call has begun, and when others have happened. The end of a
// call whose beginning is told has a place of its own.
func (q *queued) at(r *recorder) time.Duration {
	switch {
	case q.event != nil:
		e := q.event.At().Time
		if d, ok := q.event.(*trace.DNS); ok {
			e += d.Duration
		}
		return e
	case q.record.Outcome != strace.Waits && q.record.Network > 0 &&
		q.record.Took >= heldFor:
		return q.record.Start.Sub(r.start) + q.record.Took
	}
	return q.record.Start.Sub(r.start)
}

// takeQueue returns what is queued, in order; what is very new waits for the next
// time, unless this is the last.
func (r *recorder) takeQueue(last, all bool) (batch []queued, lost uint64,
	subscribers []*subscriber) {
	r.mu.Lock()
	r.over = last
	fresh := r.queue
	r.queue = r.spare[:0]
	lost, r.lost, subscribers = r.lost, 0, r.subscribers
	r.mu.Unlock()
	r.spare = fresh // until then it is read below, and nothing else
	for _, q := range fresh {
		if q.record != nil && q.record.Outcome != strace.Waits &&
			q.record.Network > 0 && q.record.Took < heldFor {
			r.short[q.record.ID] = struct{}{}
		}
	}
	r.settling = append(r.settling, fresh...)
	slices.SortStableFunc(r.settling, func(a,
		b queued) int {
		return cmp.Compare(a.at(r), b.at(r))
	})
	until, n := time.Since(r.start)-settleFor, len(r.settling)
	for !all && n > 0 && n <= 2*maxQueued && r.settling[n-1].at(r) > until {
		n--
	}
	batch = slices.Clone(r.settling[:n])
	r.settling = append(r.settling[:0], r.settling[n:]...)
	return batch, lost, subscribers
}

// tell makes events of a record.
func (r *recorder) tell(subscribers []*subscriber, q queued,
	told map[uint64]*syscalls.Record) {
	rec := q.record
	if rec.Outcome == strace.Waits {
		if _, short := r.short[rec.ID]; short {
			rec.Release() // its end is about to be told, and its beginning with it
			return
		}
		r.giveCall(subscribers, rec, trace.Enter, coordinator.Member{})
		told[rec.ID] = rec
		return
	}
	delete(r.short, rec.ID)
	phase := trace.Whole
	if begun, ok := told[rec.ID]; ok {
		begun.Release()
		delete(told, rec.ID)
		phase = trace.Exit
	}
	switch rec.Outcome {
	case strace.Continued:
		phase = trace.Watched
	case strace.Ended:
		phase = trace.Lost
	}
	r.giveCall(subscribers, rec, phase, q.peer)
	if strings.HasPrefix(processCalls[rec.Nr], "execve") {
		r.tellExec(subscribers, rec)
	}
	rec.Release()
}

func (r *recorder) giveCall(subscribers []*subscriber, rec *syscalls.Record,
	phase trace.Phase,
	peer coordinator.Member) {
	r.mu.Lock()
	who := r.threads[rec.TID].Thread
	r.mu.Unlock()
	for _, t := range subscribers {
		if !slices.Contains(t.shown, rec.Nr) {
			continue
		}
		d := rec.Decode(t.bytes)
		e := &trace.Call{Base: trace.Base{Time: rec.Start.Sub(r.start)}, Thread: who,
			Name: d.Name, Args: d.Args, FD: d.FD, Phase: phase, ABI: d.ABI}
		if who.TID == 0 {
			e.TID, e.PID = rec.TID, rec.TID
		}
		switch {
		case phase.HasResult() && rec.Outcome == strace.FailedBy:
			e.Ret, e.Errno = -1, unix.ErrnoName(rec.Errno)
		case phase.HasResult():
			e.Ret, e.RetNote = rec.Value, d.Result
		}
		if phase != trace.Enter {
			e.Duration = rec.Took
		}
		r.served(e, rec, peer)
		t.sink.Put(e)
	}
}

func give(subscribers []*subscriber, e trace.Event) {
	for _, t := range subscribers {
		if d, ok := e.(*trace.Data); ok && t.bytes < len(d.Payload) {
			short := *d
			short.Payload = d.Payload[:t.bytes]
			if t.bytes == 0 {
				continue
			}
			e = &short
		}
		t.sink.Put(e)
	}
}

// served says what boxer did for a call.
func (r *recorder) served(e *trace.Call, rec *syscalls.Record, who coordinator.Member) {
	switch {
	case rec.Outcome == strace.Continued:
		if rec.OfNetwork() {
			e.Path = "host"
		}
		return
	case !rec.Ends.Remote.IsValid():
		e.Network = rec.Network
		return
	}
	e.Network, e.Inside = rec.Network, rec.Took-rec.Network
	if who.ID == 0 {
		return
	}
	e.Peer = nameOf(who)
	o := r.outcomeOf(rec.Ends)
	if rec.Ends.SameHost && o.id == 0 {
		o = r.sameHost(e, rec, who)
	}
	e.Conn, e.Path = o.id, o.path
	if rec.Outcome == strace.FailedBy {
		e.Failure = o.reason
	}
}

// sameHost tells of a connection to a neighbour, which the kernel carries, when
// its connect or accept has succeeded.
func (r *recorder) sameHost(e *trace.Call, rec *syscalls.Record,
	who coordinator.Member) outcome {
	if rec.Outcome != strace.Returned && rec.Errno != unix.EINPROGRESS {
		return outcome{}
	}
	ends, role := rec.Ends, trace.RoleConnect
	if e.Name != "connect" {
		ends, role = syscalls.Ends{Local: ends.Remote, Remote: ends.Local},
			trace.RoleAccept
	}
	f := r.newConnTrace(derivedConnID(ends, -1), role, "tcp", rec.Ends)
	f.peer, f.peerID = nameOf(who), who.ID
	f.look()
	f.path = pathText(transport.KindLocal)
	o := outcome{f.id, f.path, ""}
	r.mu.Lock()
	r.noteLocked(rec.Ends, o)
	r.mu.Unlock()
	opened := f.eventLocked(trace.Opened)
	opened.Time = e.Time + rec.Took
	opened.Setup = rec.Took
	opened.Thread = e.Thread
	opened.Reason = "the kernel carries it: its bytes and its end are not seen"
	r.following = append(r.following, opened)
	return o
}

// giveFollowing gives the events that a call was found to have had, up to a time.
func (r *recorder) giveFollowing(subscribers []*subscriber, until time.Duration) {
	n := 0
	for n < len(r.following) && r.following[n].At().Time <= until {
		give(subscribers, r.following[n])
		n++
	}
	r.following = slices.Delete(r.following, 0, n)
}

func nameOf(m coordinator.Member) string {
	if m.Name != "" {
		return m.Name
	}
	return fmt.Sprintf("node-%d", m.ID)
}

// add gives events to one more sink, beginning with what the trace is of.
func (r *recorder) add(t *subscriber, h trace.Header) {
	self := r.member.client.Self()
	h.Base = r.now()
	h.Start, h.NodeID, h.Node = r.wall, uint64(self.ID), self.Name
	h.Addrs = append(h.Addrs, self.Addr)
	h.Networks = append(h.Networks, r.member.client.Prefix())
	h.Snap = t.bytes
	r.mu.Lock()
	if r.clock != nil {
		h.ClockOffset, h.ClockError = r.clock.ClockOffset, r.clock.ClockError
	}
	r.mu.Unlock()
	t.sink.Put(&h)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribers = append(r.subscribers[:len(r.subscribers):len(r.subscribers)], t)
	for f := range r.flows {
		t.sink.Put(f.eventLocked(trace.Progress))
	}
	r.retraceLocked()
}

// skipProcess leaves a process's calls out: boxer-init's own.
func (r *recorder) skipProcess(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skip = pid
}

// remove ends that, and returns how many are left.
func (r *recorder) remove(t *subscriber) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribers = slices.DeleteFunc(slices.Clone(r.subscribers),
		func(o *subscriber) bool { return o == t })
	r.retraceLocked()
	return len(r.subscribers)
}

// retraceLocked keeps of calls what the subscribers want.
func (r *recorder) retraceLocked() {
	if len(r.subscribers) == 0 {
		r.calls.Trace(nil)
		return
	}
	var shown []uintptr
	for nr := range processCalls {
		shown = append(shown, nr)
	}
	for _, o := range r.subscribers {
		shown = append(shown, o.shown...)
	}
	t := syscalls.NewTracing(r, shown, callNumbers())
	for _, o := range r.subscribers {
		t.Bytes = max(t.Bytes, o.bytes)
		t.FDs = t.FDs || o.fds
	}
	r.calls.Trace(t)
}

// bytes returns how much payload of connections the subscribers want.
func (r *recorder) bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, t := range r.subscribers {
		n = max(n, t.bytes)
	}
	return n
}

// pathText says how packets get to a peer.
func pathText(k transport.Kind) string {
	switch k {
	case transport.KindLocal:
		return "same host"
	case transport.KindLAN:
		return "LAN"
	case transport.KindPunched, transport.KindRelayed:
		return k.String()
	}
	return ""
}
