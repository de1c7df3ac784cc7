package syscalls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A netlinkServer is the supervisor's socket for the requests of one protocol.
type netlinkServer struct {
	mu     sync.Mutex
	conn   *os.File // nil until the first program asks
	raw    syscall.RawConn
	closed bool

	port atomic.Uint32 // of the socket; 0: there is none
}

// open opens the socket if it is not open, and returns its port. opened reports whether
// it was not.
func (k *netlinkServer) open() (port uint32, opened bool, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.conn != nil {
		return k.port.Load(), false, nil
	}
	if k.closed {
		return 0, false, unix.EIO
	}
	fd, err := linux.Socket(unix.AF_NETLINK,
		unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_USERSOCK)
	if err != nil {
		return 0, false, err
	}
	f := os.NewFile(uintptr(fd), "netlink")
	if err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err == nil {
		port, err = netlinkPort(fd)
	}
	if err == nil {
		k.raw, err = f.SyscallConn()
	}
	if err != nil {
		f.Close()
		return 0, false, fmt.Errorf("netlink: %w", err)
	}
	k.conn = f
	k.port.Store(port)
	return port, true, nil
}

func (k *netlinkServer) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.conn != nil {
		k.conn.Close()
	}
}

// used reports whether any program has made a socket of the protocol.
func (k *netlinkServer) used() bool { return k.port.Load() != 0 }

// receive waits for a request, and returns its size and the port of the program's
// socket. It fails when the socket is closed.
func (k *netlinkServer) receive(b []byte) (size int, port uint32, err error) {
	for {
		var from unix.Sockaddr
		var failed error
		if err := k.raw.Read(func(fd uintptr) bool {
			size, from, failed = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
			return !errors.Is(failed, unix.EAGAIN)
		}); err != nil {
			return 0, 0, err
		}
		if program, ok := from.(*unix.SockaddrNetlink); ok && failed == nil {
			return size, program.Pid, nil
		}
	}
}

// send sends a datagram to the socket that has a port. It does not wait for room: it
// fails with EAGAIN.
func (k *netlinkServer) send(b []byte, port uint32) error {
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port}
	var sent error
	err := k.raw.Control(func(fd uintptr) {
		sent = unix.Sendto(int(fd), b, unix.MSG_DONTWAIT, to)
	})
	return errors.Join(err, sent)
}

// Times of sendSlowly. The kernel does not tell of room in another socket's buffer. Only
// a send that waits would learn of it, and would keep a thread.
const (
	roomEvery  = 2 * time.Millisecond
	roomWithin = 10 * time.Second // then the program reads no more
)

// sendSlowly sends datagrams as the program makes room for them.
func (k *netlinkServer) sendSlowly(ctx context.Context, datagrams [][]byte,
	port uint32) error {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	last := time.Now()
	for len(datagrams) > 0 {
		switch err := k.send(datagrams[0], port); {
		case err == nil:
			datagrams, last = datagrams[1:], time.Now()
			continue
		case !errors.Is(err, unix.EAGAIN) || time.Since(last) > roomWithin:
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
