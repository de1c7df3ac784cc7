package stream

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Socket is a connected TCP socket as *net.TCPConn has it.
type Socket interface {
	io.ReadWriteCloser
	CloseRead() error
	CloseWrite() error
	SetLinger(seconds int) error
	SyscallConn() (syscall.RawConn, error)
}

// TCP is a Stream over a TCP socket, which it owns and closes when both directions have
// ended.
//
// TCP has no word for CloseRead: the kernel answers with a reset what comes in after the
// socket was closed (tcp(7)), and takes it before. OnStopSending tells of that reset.
// Urgent bytes that the peer sends stay in their place in the stream (SO_OOBINLINE), but
// their mark is lost: UrgentIn returns -1.
type TCP struct {
	socket Socket
	raw    syscall.RawConn
	urgent bool // the next byte written is

	stopped context.Context // ends when the peer takes no more
	stop    context.CancelFunc

	mu       sync.Mutex
	over     direction // which directions have ended
	readErr  error     // what Read returned at the end of its direction
	busy     bool      // a Read or a Wait is under way
	watched  bool      // watch was started
	watching sync.WaitGroup
}

var _ Stream = (*TCP)(nil)

type direction uint8

const (
	reading direction = 1 << iota
	writing
)

// NewTCP makes a Stream of a connected socket, which the Stream owns from then on. After
// an error the socket is closed.
func NewTCP(socket Socket) (*TCP, error) {
	raw, err := socket.SyscallConn()
	if err == nil {
		err = setInline(raw)
	}
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	t := &TCP{socket: socket, raw: raw}
	t.stopped, t.stop = context.WithCancel(context.Background())
	return t, nil
}

// setInline sets SO_OOBINLINE (socket(7)): without it the kernel takes urgent bytes out
// of the stream.
func setInline(raw syscall.RawConn) (err error) {
	e := raw.Control(func(fd uintptr) {
		err = os.NewSyscallError("setsockopt",
			unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_OOBINLINE, 1))
	})
	return errors.Join(e, err)
}

// end notes that directions have ended, and closes the socket when both have.
func (t *TCP) end(which direction) {
	t.mu.Lock()
	before := t.over
	t.over |= which
	over := t.over
	t.watchLocked()
	t.mu.Unlock()
	if before != reading|writing && over == reading|writing {
		t.close()
	}
}

// close closes the socket, which ends watch, and waits for that.
func (t *TCP) close() {
	t.socket.Close()
	t.watching.Wait()
	t.stop() // nobody is told: this side has ended the direction
}

// watchLocked starts watch when this side reads no more: package net lets one reader at a
// time wait.
func (t *TCP) watchLocked() {
	if t.over == reading && !t.busy && !t.watched {
		t.watched = true
		t.watching.Go(t.watch)
	}
}

// beginRead returns an error if the incoming direction has ended.
func (t *TCP) beginRead() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over&reading != 0 {
		return cmp.Or(t.readErr, net.ErrClosed)
	}
	t.busy = true
	return nil
}

// endRead notes what a Read or a Wait has found out.
func (t *TCP) endRead(err error) {
	t.mu.Lock()
	t.busy = false
	ended := err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
	if ended && t.over&reading == 0 {
		t.readErr = err
	}
	t.watchLocked()
	t.mu.Unlock()
	if !ended {
		return
	}
	if !errors.Is(err, io.EOF) {
		t.stop() // a reset ends both directions
	}
	t.end(reading)
}

// watch waits for the peer's reset after the peer has ended its own direction: no Read
// finds it any more. The kernel wakes pollers of a socket that is reset.
func (t *TCP) watch() {
	reset := false
	err := t.raw.Read(func(fd uintptr) bool {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		reset = err == nil && info.State == unix.BPF_TCP_CLOSE
		return err != nil || reset
	})
	if err == nil && reset {
		t.stop()
	}
}

// Read implements Stream.
func (t *TCP) Read(b []byte) (int, error) {
	if err := t.beginRead(); err != nil {
		return 0, err
	}
	n, err := t.socket.Read(b)
	t.endRead(err)
	return n, err
}

// Wait implements Stream. The kernel tells an error of the connection once (SO_ERROR,
// socket(7)), so Wait returns it.
func (t *TCP) Wait() error {
	err := t.beginRead()
	if errors.Is(err, io.EOF) {
		return nil // left to Read
	}
	if err != nil {
		return err
	}
	var b [1]byte
	e := t.raw.Read(func(fd uintptr) bool {
		_, _, err = unix.Recvfrom(int(fd), b[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	err = errors.Join(e, os.NewSyscallError("recvfrom", err))
	t.endRead(err)
	return err
}

// Write implements Stream.
func (t *TCP) Write(b []byte) (n int, err error) {
	if t.urgent && len(b) > 0 {
		if err := t.writeUrgent(b[:1]); err != nil {
			return 0, err
		}
		n, b = 1, b[1:]
	}
	if len(b) > 0 {
		var more int
		more, err = t.socket.Write(b)
		n += more
	}
	return n, err
}

// writeUrgent sends one byte with MSG_OOB (send(2)).
func (t *TCP) writeUrgent(b []byte) (err error) {
	e := t.raw.Write(func(fd uintptr) bool {
		err = unix.Send(int(fd), b, unix.MSG_OOB|unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL)
		return !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR)
	})
	if e == nil && err == nil {
		t.urgent = false
	}
	return errors.Join(e, os.NewSyscallError("send", err))
}

// MarkUrgent implements Stream.
func (t *TCP) MarkUrgent() error {
	t.urgent = true
	return nil
}

// UrgentIn implements Stream.
func (t *TCP) UrgentIn(int) int { return -1 }

// SetIPFields implements Stream: the socket's packets have the fields.
func (t *TCP) SetIPFields(f IPFields) {
	t.raw.Control(func(fd uintptr) {
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, f.HopLimit())
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TOS, int(f.TOS))
		// These fail on sockets of IPv4.
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS,
			f.HopLimit())
		unix.SetsockoptInt(int(fd), unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(f.TOS))
	})
}

// OnIPFields implements Stream. The kernel does not tell which TTL the peer's packets
// have: the highest stands for it, with which no program refuses them.
func (t *TCP) OnIPFields(func(IPFields)) IPFields { return IPFields{TTL: 255} }

// Flush implements Stream: the kernel has all that was written.
func (t *TCP) Flush() error { return nil }

// CloseWrite implements Stream.
func (t *TCP) CloseWrite() error {
	err := t.socket.CloseWrite()
	t.end(writing)
	return err
}

// CloseRead implements Stream.
func (t *TCP) CloseRead() error {
	err := t.socket.CloseRead()
	t.end(reading)
	return err
}

// Reset implements Stream.
func (t *TCP) Reset() {
	t.mu.Lock()
	over := t.over
	t.mu.Unlock()
	if over == reading|writing {
		return
	}
	t.socket.SetLinger(0) // close(2) sends RST: socket(7)
	t.end(reading | writing)
}

// OnStopSending implements Stream.
func (t *TCP) OnStopSending(f func()) (stop func() bool) {
	return context.AfterFunc(t.stopped, func() {
		t.mu.Lock()
		over := t.over
		t.mu.Unlock()
		if over&writing == 0 {
			f()
		}
	})
}
