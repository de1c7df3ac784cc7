package rewrite

import (
	"encoding/binary"
	"math/bits"
	"os"
	"runtime"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A Capture says what memory of a logged call is stored with it: what an argument points
// to. See Capture constants.
type Capture uint8

// The kinds of a Capture. The number of the argument is added.
const (
	CaptureString   Capture = 1 << 3 // bytes up to a zero, at most 512
	CaptureSent     Capture = 2 << 3 // as many bytes as the next argument says
	CaptureReceived Capture = 3 << 3 // as many bytes as the result says
	CaptureTime     Capture = 4 << 3 // a struct timespec
)

// maxCaptures is how many arguments of a call can be stored.
const maxCaptures = 4

// MaxPayload is the most that Config.Payload can be.
const MaxPayload = 1024

// A Logged is a call that the kernel has done and that a rule with Log is about.
type Logged struct {
	TID    int
	Nr     uintptr
	Args   [6]uint64
	Result int64 // an errno below 0
	Waits  bool  // the call has not ended; Result and Pieces are not set
	Start  time.Time
	Took   time.Duration // until it ended, or until now
	Pieces []LoggedPiece // valid only during Config.Logged
}

// A LoggedPiece is a piece of the program's memory.
type LoggedPiece struct {
	Addr  uintptr
	Data  []byte
	After bool // as it was after the call
}

// logEvery is how often the logs are read. A thread whose log is half full rings before.
const logEvery = 10 * time.Millisecond

// waitsAfter is how long a call takes before it is reported as waiting.
const waitsAfter = 100 * time.Millisecond

// A logReader reads the logs of all slots.
type logReader struct {
	s      *Server
	logs   []callLog
	base   time.Time // at
	baseNS int64     // of CLOCK_MONOTONIC
	// the start of the call of each slot that was last reported as waiting
	waits map[int]uint64
}

// packCaptures returns the captures of a call as struct shared has them.
func packCaptures(cs []Capture) (packed uint32) {
	for i, c := range cs[:min(len(cs), maxCaptures)] {
		packed |= uint32(c) << (8 * i)
	}
	return packed
}

// makeLogs makes the logs, if a rule needs them. They take memory as far as they are
// used.
func (s *Server) makeLogs() error {
	if s.shared.logs == 0 {
		return nil
	}
	s.shared.payload = uint32(min(max(s.cfg.Payload, 0), MaxPayload))
	size := slots * sizeofLog
	if err := s.memory.Truncate(int64(sizeofShared + size)); err != nil {
		return err
	}
	mapped, err := unix.Mmap(int(s.memory.Fd()), int64(sizeofShared), size,
		unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	s.reader = s.newLogReader(logsIn(mapped))
	runtime.AddCleanup(s, func(b []byte) { unix.Munmap(b) }, mapped)
	return nil
}

func (s *Server) newLogReader(logs []callLog) *logReader {
	var now unix.Timespec
	unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail
	return &logReader{s: s, logs: logs, base: time.Now(), baseNS: now.Nano(),
		waits: make(map[int]uint64)}
}

// FlushLog passes all calls that were logged so far to Config.Logged.
func (s *Server) FlushLog() {
	s.logging.Lock()
	defer s.logging.Unlock()
	if s.reader != nil {
		s.reader.read()
	}
}

// flushSlot is FlushLog for one slot.
func (s *Server) flushSlot(n int) {
	if atomic.LoadUint64(&s.shared.logging[n/64])>>(n%64)&1 == 0 {
		return
	}
	s.logging.Lock()
	defer s.logging.Unlock()
	s.reader.readLog(n, &s.reader.logs[n])
}

// readLogs reads the logs until Close.
func (s *Server) readLogs() {
	t := time.NewTicker(logEvery)
	defer t.Stop()
	for !s.closing.Load() {
		select {
		case <-t.C:
		case <-s.logFull:
		}
		s.FlushLog()
	}
}

// logRang notes that a thread has rung which may have a full log.
func (s *Server) logRang() {
	select {
	case s.logFull <- struct{}{}:
	default: // somebody reads already, or there are no logs
	}
}

// isFull reports whether a slot's log is half full. It does not touch a log that nobody
// has used, which would take memory.
func (r *logReader) isFull(slot int) bool {
	if atomic.LoadUint64(&r.s.shared.logging[slot/64])>>(slot%64)&1 == 0 {
		return false
	}
	l := &r.logs[slot]
	return atomic.LoadUint64(&l.head)-atomic.LoadUint64(&l.tail) > uint64(len(l.data)/2)
}

func (r *logReader) read() {
	for i := range r.s.shared.logging {
		for set := atomic.LoadUint64(&r.s.shared.logging[i]); set != 0; set &= set - 1 {
			n := i*64 + bits.TrailingZeros64(set)
			r.readLog(n, &r.logs[n])
		}
	}
}

// readLog reads one slot's log. Programs can write anything there: what cannot be is
// skipped.
func (r *logReader) readLog(slot int, l *callLog) {
	head, tail := atomic.LoadUint64(&l.head), atomic.LoadUint64(&l.tail)
	if head-tail > uint64(len(l.data)) {
		atomic.StoreUint64(&l.tail, head)
		return
	}
	for tail != head {
		data := l.data[tail%uint64(len(l.data)):]
		size := entrySize(data)
		if size == 0 || size > head-tail {
			atomic.StoreUint64(&l.tail, head)
			return
		}
		if call, ok := parseLogged(data[:size]); ok {
			call.Start = r.at(call.begin)
			call.Took = max(0, r.at(call.end).Sub(call.Start))
			r.s.cfg.Logged(&call.Logged)
		}
		tail += size
		atomic.StoreUint64(&l.tail, tail)
	}
	since := atomic.LoadUint64(&l.since)
	if since == 0 || r.waits[slot] == since {
		return
	}
	start := r.at(since)
	call := Logged{TID: int(atomic.LoadUint32(&r.s.shared.slots[slot].tid)),
		Nr: uintptr(l.nr), Args: l.args, Waits: true, Start: start,
		Took: time.Since(start)}
	if call.Took >= waitsAfter && atomic.LoadUint64(&l.since) == since {
		r.waits[slot] = since
		r.s.cfg.Logged(&call)
	}
}

// entrySize returns the size of the entry at the beginning of what is left of a log, in
// bytes, or 0 if there can be none.
func entrySize(data []byte) uint64 {
	const least = 8 // and what every size is a multiple of
	if len(data) < least {
		return 0
	}
	size := uint64(binary.NativeEndian.Uint32(data))
	if size < least || size%least != 0 || size > uint64(len(data)) {
		return 0
	}
	return size
}

// at converts a time of CLOCK_MONOTONIC.
func (r *logReader) at(ns uint64) time.Time {
	return r.base.Add(time.Duration(int64(ns) - r.baseNS))
}

type loggedCall struct {
	Logged
	begin, end uint64
}

const (
	sizeofLoggedHead  = 96
	sizeofLoggedPiece = 16
)

// parseLogged reads struct logged and its pieces.
func parseLogged(b []byte) (c loggedCall, ok bool) {
	le := binary.NativeEndian
	if len(b) < sizeofLoggedHead || le.Uint32(b[4:]) == 0 {
		return c, false
	}
	c.TID, c.Nr = int(le.Uint32(b[4:])), uintptr(le.Uint64(b[8:]))
	for i := range c.Args {
		c.Args[i] = le.Uint64(b[16+8*i:])
	}
	c.Result, c.begin, c.end = int64(le.Uint64(b[64:])), le.Uint64(b[72:]),
		le.Uint64(b[80:])
	n := le.Uint32(b[88:])
	b = b[sizeofLoggedHead:]
	for range min(n, maxCaptures) {
		if len(b) < sizeofLoggedPiece {
			return c, false
		}
		size := int(le.Uint32(b[8:]))
		p := LoggedPiece{Addr: uintptr(le.Uint64(b)), After: le.Uint32(b[12:]) != 0}
		b = b[sizeofLoggedPiece:]
		if size > len(b) {
			return c, false
		}
		p.Data = b[:size:size]
		c.Pieces = append(c.Pieces, p)
		b = b[min(len(b), (size+7)&^7):]
	}
	return c, true
}
