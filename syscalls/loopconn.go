package syscalls

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// A Conn is a relay's end of a loopback connection.
type Conn interface {
	Write(b []byte) (int, error)
	// MarkUrgent makes the next written byte urgent (MSG_OOB, send(2)).
	MarkUrgent() error
	CloseWrite() error
	SetLinger(seconds int) error
	SetReadDeadline(t time.Time) error
	Close() error
	SyscallConn() (syscall.RawConn, error)
}

var _ Conn = (*loopConn)(nil)

// A loopConn is a TCP socket of the supervisor. It replaces net.FileConn, which makes
// fifteen more system calls: it duplicates the descriptor, asks for names, and sets
// options, of which only TCP_NODELAY matters on loopback.
type loopConn struct {
	*os.File
	raw     syscall.RawConn
	urgency *urgency // nil: none

	ip     *ipRelay        // of an accepted connection
	fields stream.IPFields // those of its listener

	// The write in progress. There is one at a time.
	rest []byte
	err  error
	// the first byte of rest is urgent: see MarkUrgent
	urgent bool
	// tryWrite, stored because each method value is an allocation
	write func(fd uintptr) (done bool)
}

// newLoopConn adds a connected socket to the runtime's poller. It owns fd, also after an
// error.
func newLoopConn(fd int) (*loopConn, error) {
	err := linux.SetNonblock(fd, true) // os.NewFile adds only non-blocking files to the poller
	if err == nil {
		err = linux.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		linux.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "relay")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	c := &loopConn{File: f, raw: raw}
	c.write = c.tryWrite
	return c, nil
}

// loopConnOf makes a loopConn from a connection of package net, which it owns. After an
// error it resets the connection.
func loopConnOf(c *net.TCPConn) (*loopConn, error) {
	fd, err := -1, error(nil)
	raw, e := c.SyscallConn()
	if e == nil {
		e = raw.Control(func(old uintptr) {
			fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0)
		})
	}
	if err = errors.Join(e, os.NewSyscallError("fcntl", err)); err != nil {
		c.SetLinger(0) // close(2) sends RST: socket(7)
		c.Close()
		return nil, err
	}
	c.Close() // the copy keeps the connection open
	return newLoopConn(fd)
}

// Write implements Conn.
func (c *loopConn) Write(b []byte) (int, error) {
	c.rest = b
	err := c.raw.Write(c.write)
	if err == nil {
		err = c.err
	}
	n := len(b) - len(c.rest)
	c.rest = nil
	return n, err
}

// tryWrite returns false if the send buffer is full.
func (c *loopConn) tryWrite(fd uintptr) bool {
	for {
		if c.urgent {
			if c.err = unix.Send(int(fd), c.rest[:1],
				unix.MSG_OOB|unix.MSG_NOSIGNAL); c.err == nil {
				c.rest, c.urgent = c.rest[1:], false
			}
		} else {
			var n int
			n, c.err = linux.Write(int(fd), c.rest)
			c.rest = c.rest[n:]
		}
		switch {
		case errors.Is(c.err, unix.EAGAIN):
			return false
		case errors.Is(c.err, unix.EINTR), c.err == nil && len(c.rest) > 0:
			continue
		}
		return true
	}
}

// SyscallConn implements Conn.
func (c *loopConn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// CloseWrite sends FIN.
func (c *loopConn) CloseWrite() error {
	return c.control(func(fd int) error { return linux.Shutdown(fd, unix.SHUT_WR) })
}

// CloseRead drops data that still arrives.
func (c *loopConn) CloseRead() error {
	return c.control(func(fd int) error { return linux.Shutdown(fd, unix.SHUT_RD) })
}

// SetLinger sets SO_LINGER (socket(7)): with 0, Close sends RST.
func (c *loopConn) SetLinger(seconds int) error {
	return c.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER,
			&unix.Linger{Onoff: 1, Linger: int32(seconds)})
	})
}

func (c *loopConn) control(f func(fd int) error) error {
	var err error
	if e := c.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}
