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

// A recorder collects a node's system calls and the events of its connections, and passes
// them to subscribers as trace events. The threads that answer calls only append records
// to a queue. A goroutine turns the records into events.
type recorder struct {
	start  time.Time // time 0 of the events
	wall   time.Time // the same instant on the wall clock
	member *member
	calls  *syscalls.Node

	stop    chan struct{}      // closed to end run
	flushes chan chan struct{} // see flush
	done    chan struct{}      // closed when run has ended

	spare     []queued      // the previous queue, for reuse; owned by run
	settling  []queued      // recent records, taken from the queue; owned by run
	following []trace.Event // events of reported calls; owned by run
	// calls in settling that waited for a short time; owned by run
	short map[uint64]struct{}

	mu          sync.Mutex
	subscribers []*subscriber
	queue       []queued
	lost        uint64 // records dropped because the queue was full
	threads     map[int]thread
	flows       map[*connTrace]struct{}
	udp         map[syscalls.Ends]*connTrace
	ended       map[syscalls.Ends]outcome // of connections that ended recently
	// the thread that owns each connection, as its calls showed
	whose map[syscalls.Ends]trace.Thread
	procs map[int]*process
	execs map[uint64]*execAttempt // by call ID
	// the process of boxer-init, whose calls are not part of the trace
	skip  int
	begun bool // the child of boxer-init has executed the program
	over  bool
	clock *trace.Clock // nil until it has been measured
}

// A subscriber receives events.
type subscriber struct {
	sink  *trace.Sink
	bytes int  // of payload
	fds   bool // whether to describe file descriptors
	shown []uintptr
}

// A queued is an entry of the queue: either a record or an event.
type queued struct {
	record *syscalls.Record
	event  trace.Event

	peer coordinator.Member // of record: the node at the far end, if known
}

// A thread describes a thread that makes calls.
type thread struct {
	trace.Thread
	parent int // parent process
	looked time.Time
}

const (
	// maxQueued bounds the queue, in entries. A call's record takes about 1 KiB.
	maxQueued = 1 << 14
	// recordEvery is the interval at which run reads the queue. The answering thread does
	// not wake run, because a wake-up costs that thread as much as a call.
	recordEvery = 20 * time.Millisecond
	// maxThreads bounds the threads that the recorder remembers.
	maxThreads = 1 << 12
	// threadFor is how long the recorder caches a thread's process and name.
	threadFor = time.Second
	// heldFor is how long a call waits before the recorder emits an event for its start.
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

// close stops the recorder after it has emitted what is queued.
func (r *recorder) close() {
	r.calls.FlushLog()
	r.calls.Trace(nil)
	r.closeConns()
	close(r.stop)
	<-r.done
}

// now returns the current time as an event's time.
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
	if rec.Ends.Remote.IsValid() { // the peer may have left by the time of the event
		q.peer, _ = r.member.client.ByAddr(rec.Ends.Remote.Addr())
		r.ownedLocked(rec.Ends, t.Thread)
	}
	r.queue = append(r.queue, q)
}

// put appends an event to the queue, so that it is ordered among the calls.
func (r *recorder) put(e trace.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over || len(r.queue) >= maxQueued {
		r.lost++
		return
	}
	r.queue = append(r.queue, queued{event: e})
}

// threadLocked returns a thread's process and name. It reads /proc now, while the thread
// certainly exists: the thread has just made a call.
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

// ownedLocked records the thread that owns a connection. The connection's events name
// that thread.
func (r *recorder) ownedLocked(ends syscalls.Ends, t trace.Thread) {
	ends.SameHost = false
	if len(r.whose) >= maxOutcomes {
		clear(r.whose)
	}
	r.whose[ends] = t
}

// named fills in the thread that owns an event's connection, if a call has shown it.
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

// measureClock measures the clock's offset from the coordinator's clock and emits it
// once.
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

// clockWithin bounds how long measureClock takes.
const clockWithin = 5 * time.Second

// run turns queue entries into events until the recorder is closed.
func (r *recorder) run() {
	defer close(r.done)
	ctx, cancel := context.WithCancel(context.Background())
	var clock sync.WaitGroup
	clock.Go(func() { r.measureClock(ctx) })
	defer clock.Wait()
	defer cancel()
	tick := time.NewTicker(recordEvery)
	defer tick.Stop()
	// waiting calls whose start has been emitted
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

// flush waits until the subscribers have received everything that was recorded so far.
func (r *recorder) flush() {
	r.calls.FlushLog()
	flushed := make(chan struct{})
	r.flushes <- flushed
	<-flushed
}

// settleFor is how long an entry waits for calls that began earlier, which are recorded
// only when they end. A call that takes longer gets an event of its own for its start.
const settleFor = heldFor + 20*time.Millisecond

// at returns the time that orders the entry: the start of a call, or the time of another
// event. If a call's start has been emitted, its end is ordered by the time of the end.
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

// takeQueue returns the queued entries in order. It leaves very recent ones for the next
// time, unless this is the last time.
func (r *recorder) takeQueue(last, all bool) (batch []queued, lost uint64,
	subscribers []*subscriber) {
	r.mu.Lock()
	r.over = last
	fresh := r.queue
	r.queue = r.spare[:0]
	lost, r.lost, subscribers = r.lost, 0, r.subscribers
	r.mu.Unlock()
	r.spare = fresh // the code below still reads it, and nothing writes it before then
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

// tell turns a record into events.
func (r *recorder) tell(subscribers []*subscriber, q queued,
	told map[uint64]*syscalls.Record) {
	rec := q.record
	if rec.Outcome == strace.Waits {
		if _, short := r.short[rec.ID]; short {
			rec.Release() // the event of its end follows and contains its start
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

// served returns what boxer did for a call.
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

// sameHost emits the event of a connection to a node on the same host when its connect or
// accept has succeeded. The kernel carries such connections.
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

// giveFollowing passes on the events that followed from a call, up to a time.
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

// add subscribes one more sink. The sink first receives the header of the trace.
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

// skipProcess omits the calls of a process, boxer-init, from the trace.
func (r *recorder) skipProcess(pid int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.skip = pid
}

// remove unsubscribes a sink and returns how many remain.
func (r *recorder) remove(t *subscriber) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.subscribers = slices.DeleteFunc(slices.Clone(r.subscribers),
		func(o *subscriber) bool { return o == t })
	r.retraceLocked()
	return len(r.subscribers)
}

// retraceLocked sets what is recorded of calls to what the subscribers want.
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

// bytes returns how many bytes of connections' payload the subscribers want.
func (r *recorder) bytes() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := 0
	for _, t := range r.subscribers {
		n = max(n, t.bytes)
	}
	return n
}

// pathText describes the path to a peer.
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
