package syscalls

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// A Conn is a relay's end of a loopback connection. *net.TCPConn is one.
type Conn interface {
	Write(b []byte) (int, error)
	CloseWrite() error
	SetLinger(seconds int) error
	Close() error
	SyscallConn() (syscall.RawConn, error)
}

// A loopConn is a TCP socket of the supervisor's own. net.FileConn would do, for
// fifteen system calls more: it duplicates the descriptor, asks for names, and
// sets options, of which only TCP_NODELAY matters on loopback.
type loopConn struct {
	*os.File
	raw syscall.RawConn
}

// newLoopConn hands a connected socket to the runtime's poller. It owns fd, also
// after an error.
func newLoopConn(fd int) (*loopConn, error) {
	err := unix.SetNonblock(fd, true) // or os.NewFile leaves the poller out
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	f := os.NewFile(uintptr(fd), "relay")
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &loopConn{f, raw}, nil
}

// SyscallConn implements Conn.
func (c *loopConn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// CloseWrite sends FIN.
func (c *loopConn) CloseWrite() error {
	return c.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_WR) })
}

// CloseRead drops what still comes in.
func (c *loopConn) CloseRead() error {
	return c.control(func(fd int) error { return unix.Shutdown(fd, unix.SHUT_RD) })
}

// SetLinger sets SO_LINGER (socket(7)): with 0, Close sends RST.
func (c *loopConn) SetLinger(seconds int) error {
	return c.control(func(fd int) error {
		return unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1, Linger: int32(seconds)})
	})
}

func (c *loopConn) control(f func(fd int) error) error {
	var err error
	if e := c.raw.Control(func(fd uintptr) { err = f(int(fd)) }); e != nil {
		return e
	}
	return err
}

// A loopStream makes a loopConn a Stream.
type loopStream struct{ *loopConn }

func (s loopStream) Reset() {
	s.SetLinger(0)
	s.Close()
}
