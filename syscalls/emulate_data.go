package syscalls

import (
	"context"
	"encoding/binary"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// Flags of sends and receives that boxer can perform for the program.
const (
	plainSend    = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL | unix.MSG_MORE | unix.MSG_DONTROUTE | unix.MSG_CONFIRM
	plainReceive = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL | unix.MSG_PEEK | unix.MSG_CMSG_CLOEXEC
)

// bytes bounds how many bytes a traced call moves at a time.
const emulateBytes = 256 << 10

var emulateBuffers = sync.Pool{New: func() any { return new([emulateBytes]byte) }}

// unfinished has the partial results of calls that a signal has ended. The kernel may
// restart such a call after the signal's handler, or the program repeats it. What was
// done already is then not done again.
type unfinished struct {
	count atomic.Int64 // of entries in the maps
	mu    sync.Mutex
	sent  map[int]partlySent // by thread
	got   map[uint64][]byte  // data that was read from TCP sockets, by cookie
	// under has a channel for each waiting call, by thread. It is closed when the call
	// was answered, or found to have ended. The thread's next call may arrive before
	// that, and must not overtake it.
	under map[int]chan struct{}
}

// wait records that a call waits. The caller calls answered once it is answered.
func (u *unfinished) wait(tid int) (answered func()) {
	done := make(chan struct{})
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.under == nil {
		u.under = make(map[int]chan struct{})
	}
	u.under[tid] = done
	u.count.Add(1)
	return func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.under[tid] == done {
			delete(u.under, tid)
		}
		u.count.Add(-1)
		close(done)
	}
}

// after performs a call. If the thread's previous call is not answered yet, it performs
// the call after that. The previous call has been ended by a signal, so its answer comes
// at once.
func (u *unfinished) after(c Call, perform func(Call) reply) reply {
	if u.count.Load() == 0 {
		return perform(c)
	}
	u.mu.Lock()
	before := u.under[c.TID()]
	u.mu.Unlock()
	if before == nil {
		return perform(c)
	}
	r := async(func(ctx context.Context, c Call) reply {
		<-before
		if !c.Pending() {
			return fail(unix.EINTR)
		}
		r := perform(c)
		if r.kind != replyWait {
			return r
		}
		settled := r.settled
		r = r.wait(ctx, c)
		r.settled = settled
		return r
	})
	r.settled = u.wait(c.TID())
	return r
}

// partlySent describes a send whose first done bytes were sent.
type partlySent struct {
	args [4]uint64
	nr   uintptr
	done int
}

func sendKey(c Call, done int) partlySent {
	return partlySent{[4]uint64{c.Uint(0), c.Uint(1), c.Uint(2), c.Uint(3)}, c.Nr(), done}
}

// begun returns how many bytes of a send were sent already, and removes the record.
func (u *unfinished) begun(c Call) int {
	if u.count.Load() == 0 {
		return 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	p, ok := u.sent[c.TID()]
	if !ok {
		return 0
	}
	delete(u.sent, c.TID())
	u.count.Add(-1)
	if p != sendKey(c, p.done) {
		return 0
	}
	return p.done
}

func (u *unfinished) keepSent(tid int, p partlySent) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sent == nil {
		u.sent = make(map[int]partlySent)
	}
	if _, ok := u.sent[tid]; !ok {
		u.count.Add(1)
	}
	u.sent[tid] = p
}

func (u *unfinished) keepGot(id uint64, b []byte) {
	if len(b) == 0 {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.got == nil {
		u.got = make(map[uint64][]byte)
	}
	if u.got[id] == nil {
		u.count.Add(1)
	}
	u.got[id] = append(append([]byte(nil), b...), u.got[id]...)
}

// take fills b with data that was kept for a socket.
func (u *unfinished) take(id uint64, b []byte, peek bool) int {
	if u.count.Load() == 0 {
		return 0
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	n := copy(b, u.got[id])
	if n == 0 || peek {
		return n
	}
	if u.got[id] = u.got[id][n:]; len(u.got[id]) == 0 {
		delete(u.got, id)
		u.count.Add(-1)
	}
	return n
}

// sendto performs sendto(2) on a TCP or UDP socket.
func (e *emulator) sendto(c Call) reply {
	return e.unfinished.after(c, func(c Call) reply {
		return e.send(c, c.Int(3), c.Uint(2), c.Ptr(4), c.Int(5),
			func(c Call, off int, b []byte) error {
				return c.ReadMemory(c.Ptr(1)+uintptr(off), b)
			})
	})
}

// sendmsg performs sendmsg(2) on a TCP or UDP socket, without control messages.
func (e *emulator) sendmsg(c Call) reply {
	return e.plainMessage(c, func(c Call, m *abi.Msghdr, iov []abi.Iovec, total uint64) reply {
		return e.send(c, c.Int(2), total, m.Name, int(int32(m.Namelen)),
			func(c Call, off int, b []byte) error {
				return gatherAt(c, iov, off, b)
			})
	})
}

// plainMessage performs sendmsg(2) or recvmsg(2) if there are no control messages.
func (e *emulator) plainMessage(c Call, perform func(c Call, m *abi.Msghdr, iov []abi.Iovec,
	total uint64) reply) reply {
	m, err := readMsghdr(c, c.Ptr(1))
	if err != nil {
		return fail(err)
	}
	if m.Controllen > 0 {
		return passthrough
	}
	iov, total, err := readIovecs(c, m)
	if err != nil {
		return fail(err)
	}
	return e.unfinished.after(c, func(c Call) reply { return perform(c, &m, iov, total) })
}

// sendmmsg performs sendmmsg(2) on a UDP socket, without control messages.
func (e *emulator) sendmmsg(c Call) reply {
	count := min(int(uint32(c.Uint(2))), abi.MaxIovecs)
	if c.Int(3)&^plainSend != 0 || count == 0 {
		return passthrough
	}
	return onCopy(c, func(fd int) reply {
		domain, typ, err := kind(fd)
		if err != nil {
			return fail(err)
		}
		if !isInet(domain) || typ != unix.SOCK_DGRAM {
			return passthrough
		}
		for i := range count {
			at := c.Ptr(1) + uintptr(i*layoutOf(c).SizeofMmsghdr)
			m, err := readMsghdr(c, at)
			if err != nil {
				return partial(i, fail(err))
			}
			iov, total, err := readIovecs(c, m)
			if err != nil {
				return partial(i, fail(err))
			}
			if m.Controllen > 0 || total > maxDatagram ||
				m.Namelen > abi.SizeofSockaddrStorage {
				return partial(i, passthrough)
			}
			s := &sending{e: e, fd: fd, flags: c.Int(3), size: int(total),
				read: func(c Call, off int,
					b []byte) error {
					return gatherAt(c, iov, off, b)
				}}
			r := s.datagram(c, m.Name, int(m.Namelen))
			if r.kind != replyValue {
				return partial(i, r)
			}
			if err := putMessageLen(c, at, r.value); err != nil {
				return partial(i, fail(err))
			}
		}
		return value(uintptr(count))
	})
}

// gatherAt fills b from the buffers, beginning at an offset.
func gatherAt(c Call, iov []abi.Iovec, off int, b []byte) error {
	for _, v := range iov {
		if off >= int(v.Len) {
			off -= int(v.Len)
			continue
		}
		k := min(int(v.Len)-off, len(b))
		if err := c.ReadMemory(v.Base+uintptr(off), b[:k]); err != nil {
			return err
		}
		off, b = 0, b[k:]
		if len(b) == 0 {
			break
		}
	}
	return nil
}

// A sending is a send in progress.
type sending struct {
	e     *emulator
	fd    int
	flags int
	size  int
	done  int
	read  func(c Call, off int, b []byte) error
}

func (e *emulator) send(c Call, flags int, size uint64, name uintptr, nameLen int,
	read func(Call, int, []byte) error) reply {
	if flags&^plainSend != 0 || size > 1<<30 {
		return passthrough
	}
	return onSocket(c, func(p *progSocket) reply {
		domain, typ, err := p.kind()
		s := &sending{e: e, fd: p.fd, flags: flags, size: int(size), read: read}
		switch {
		case err != nil:
			return fail(err)
		case !isInet(domain):
		case typ == unix.SOCK_STREAM && name == 0:
			s.done = e.unfinished.begun(c)
			return s.stream(c)
		case typ == unix.SOCK_DGRAM && size <= maxDatagram && nameLen >= 0 &&
			nameLen <= abi.SizeofSockaddrStorage:
			return s.datagram(c, name, nameLen)
		}
		return passthrough
	})
}

func (s *sending) datagram(c Call, name uintptr, nameLen int) reply {
	buf := emulateBuffers.Get().(*[emulateBytes]byte)
	defer emulateBuffers.Put(buf)
	if err := s.read(c, 0, buf[:s.size]); err != nil {
		return fail(err)
	}
	var to []byte
	if name != 0 {
		to = make([]byte, nameLen)
		if err := c.ReadMemory(name, to); err != nil {
			return fail(err)
		}
	}
	// A send waits while the queue is full: only for a moment, because the queue leads to
	// the network.
	nb, err := nonblocking(s.fd)
	if err != nil {
		return fail(err)
	}
	n, err := linux.Sendto(s.fd, buf[:s.size],
		s.flags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, to)
	if errors.Is(err, unix.EAGAIN) && !nb && s.flags&unix.MSG_DONTWAIT == 0 {
		return passthrough
	}
	if err != nil {
		return fail(err)
	}
	return value(uintptr(n))
}

// stream sends on a TCP socket. On a blocking socket it sends everything, and waits on
// another goroutine.
func (s *sending) stream(c Call) reply {
	err := s.some(c)
	if !errors.Is(err, unix.EAGAIN) || s.flags&unix.MSG_DONTWAIT != 0 {
		return s.result(c, err)
	}
	if nb, nerr := nonblocking(s.fd); nerr != nil || nb {
		return s.result(c, err)
	}
	r := async(func(ctx context.Context, c Call) reply {
		for {
			if err := s.e.readiness.wait(ctx, s.fd, unix.POLLOUT,
				unix.SO_SNDTIMEO); err != nil {
				return s.result(c, err)
			}
			if err := s.some(c); !errors.Is(err, unix.EAGAIN) {
				return s.result(c, err)
			}
		}
	})
	r.settled = s.e.unfinished.wait(c.TID())
	return r
}

// some sends as much as it can without blocking. It fails with EAGAIN if that is not
// everything.
func (s *sending) some(c Call) error {
	buf := emulateBuffers.Get().(*[emulateBytes]byte)
	defer emulateBuffers.Put(buf)
	for {
		b := buf[:min(s.size-s.done, len(buf))]
		if err := s.read(c, s.done, b); err != nil {
			return err
		}
		n, err := linux.Sendto(s.fd, b, s.flags|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, nil)
		if err != nil {
			return err
		}
		if s.done += n; s.done == s.size {
			return nil
		}
		if n < len(b) {
			return unix.EAGAIN
		}
	}
}

// result returns the reply to a send: the number of bytes sent, if it is not 0, otherwise
// the error.
func (s *sending) result(c Call, err error) reply {
	if s.done == 0 && err != nil {
		if errors.Is(err, unix.EPIPE) && s.flags&unix.MSG_NOSIGNAL == 0 {
			// The kernel performs the call, returns the same error, and sends the thread
			// SIGPIPE.
			return reply{kind: replyContinue, errno: unix.EPIPE}
		}
		return fail(err)
	}
	r := value(uintptr(s.done))
	tid, key := c.TID(), sendKey(c, s.done)
	r.undo = func() { s.e.unfinished.keepSent(tid, key) }
	return r
}

// recvfrom performs recvfrom(2) on a TCP or UDP socket.
func (e *emulator) recvfrom(c Call) reply {
	return e.unfinished.after(c, func(c Call) reply {
		return e.receive(c, c.Int(3),
			c.Uint(2), giveFrom)
	})
}

// giveFrom stores received data and its source as recvfrom(2) does.
func giveFrom(c Call, b, from []byte, _ int) error {
	if c.Ptr(4) == 0 {
		return c.WriteMemory(c.Ptr(1), b)
	}
	var room [4]byte
	if err := c.ReadMemory(c.Ptr(5), room[:]); err != nil {
		return err
	}
	have := int(int32(binary.NativeEndian.Uint32(room[:])))
	if have < 0 {
		return unix.EINVAL
	}
	if err := c.WriteMemory(c.Ptr(1), b); err != nil {
		return err
	}
	binary.NativeEndian.PutUint32(room[:], uint32(len(from)))
	return c.WriteMemoryv(c.Ptr(4), from[:min(have, len(from))], c.Ptr(5), room[:])
}

// recvmsg performs recvmsg(2) on a TCP or UDP socket, without room for control
// messages.
func (e *emulator) recvmsg(c Call) reply {
	return e.plainMessage(c, func(c Call, m *abi.Msghdr, iov []abi.Iovec, total uint64) reply {
		return e.receive(c, c.Int(2), total,
			func(c Call, b []byte, from []byte, flags int) error {
				if err := scatter(c, iov, b); err != nil {
					return err
				}
				if m.Name != 0 {
					if err := c.WriteMemory(m.Name,
						from[:min(len(from), int(m.Namelen))]); err != nil {
						return err
					}
				}
				return finishMessage(c, *m, uint32(len(from)), 0, int32(flags))
			})
	})
}

// receive receives data and stores it in the program by give.
func (e *emulator) receive(c Call, flags int, size uint64,
	give func(c Call, b, from []byte, flags int) error) reply {
	if flags&^plainReceive != 0 {
		return passthrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	domain, typ, err := kind(fd)
	if err != nil || !isInet(domain) || typ != unix.SOCK_STREAM &&
		typ != unix.SOCK_DGRAM {
		linux.Close(fd)
		if err != nil {
			return fail(err)
		}
		return passthrough
	}
	g := &receiving{e: e, fd: fd, flags: flags, size: int(min(size, emulateBytes)),
		stream: typ == unix.SOCK_STREAM, give: give}
	r := g.now(c)
	again := r.kind == replyErrno && r.errno == unix.EAGAIN &&
		flags&unix.MSG_DONTWAIT == 0
	if again {
		nb, err := nonblocking(fd)
		again = err == nil && !nb
	}
	if !again {
		linux.Close(fd)
		return r
	}
	id, err := cookie(fd)
	if err != nil {
		linux.Close(fd)
		return fail(err)
	}
	r = async(func(ctx context.Context, c Call) reply {
		turn := e.readiness.hold(id, fd, unix.SO_RCVTIMEO)
		defer turn.leave()
		g.fd = turn.fd
		for {
			if err := turn.wait(ctx, c, unix.POLLIN); err != nil {
				return fail(err)
			}
			if !c.Pending() {
				return fail(unix.EINTR) // the call has ended: leave the data to the next
			}
			if r := g.now(c); r.kind != replyErrno || r.errno != unix.EAGAIN {
				return r
			}
		}
	})
	r.settled = e.unfinished.wait(c.TID())
	return r
}

// A receiving is a receive in progress.
type receiving struct {
	e      *emulator
	fd     int
	flags  int
	size   int
	stream bool
	give   func(c Call, b, from []byte, flags int) error
}

// taken is data that was read from a TCP socket and that the program does not have yet.
type taken struct {
	buf    *[emulateBytes]byte
	n      int
	cookie uint64
}

// settleTaken ends a receive. If the call had ended before, the next receive gets the
// data.
func (e *emulator) settleTaken(t *taken, lost bool) {
	if lost {
		e.unfinished.keepGot(t.cookie, t.buf[:t.n])
	}
	emulateBuffers.Put(t.buf)
}

// now receives without waiting.
func (g *receiving) now(c Call) reply {
	buf := emulateBuffers.Get().(*[emulateBytes]byte)
	t := &taken{buf: buf}
	consume := g.stream && g.flags&unix.MSG_PEEK == 0
	var from [abi.SizeofSockaddrStorage]byte
	var fromSize, flags int
	var err error
	if g.stream {
		if t.cookie, err = cookie(g.fd); err == nil {
			t.n = g.e.unfinished.take(t.cookie, buf[:g.size], !consume)
		}
	}
	if t.n == 0 && err == nil {
		t.n, fromSize, flags, err = linux.Recvmsg(g.fd, buf[:g.size], from[:],
			g.flags|unix.MSG_DONTWAIT)
	}
	if err != nil {
		g.e.settleTaken(t, false)
		return fail(err)
	}
	// recvmsg(2) returns this flag only for the program's own call
	if g.stream && flags&unix.MSG_CMSG_CLOEXEC != 0 {
		flags &^= unix.MSG_CMSG_CLOEXEC
	}
	if err := g.give(c, buf[:t.n], from[:fromSize],
		flags|g.flags&unix.MSG_CMSG_CLOEXEC); err != nil {
		g.e.settleTaken(t, consume)
		return fail(err)
	}
	r := value(uintptr(t.n))
	if consume {
		r.taken = t
	} else {
		g.e.settleTaken(t, false)
	}
	return r
}
