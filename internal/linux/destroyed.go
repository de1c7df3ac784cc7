package linux

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Multicast groups of sock_diag(7), from linux/sock_diag.h. Those with 6 are about
// AF_INET6 sockets, whatever their address.
const (
	TCPDestroyed  = 1 // SKNLGRP_INET_TCP_DESTROY
	UDPDestroyed  = 2 // SKNLGRP_INET_UDP_DESTROY
	TCP6Destroyed = 3 // SKNLGRP_INET6_TCP_DESTROY
	UDP6Destroyed = 4 // SKNLGRP_INET6_UDP_DESTROY
)

// ErrMissed means that the kernel had more messages than its queue holds.
var ErrMissed = errors.New("the kernel's queue was full: messages were lost")

// A DestroyWatcher reports sockets of this network namespace that were destroyed. The
// kernel sends a message when the last reference to a socket is gone, for whatever reason
// (sk_free in net/core/sock.c). Receiving the messages takes no privilege.
type DestroyWatcher struct {
	file *os.File
	raw  syscall.RawConn
	buf  [4096]byte

	// The last read, by tryRead. try is tryRead, stored because each method value is an
	// allocation.
	n   int
	err error
	try func(fd uintptr) (done bool)
	// missed says that messages were lost since Next last returned ErrMissed.
	missed bool
}

// watchQueue is the size of the kernel's queue of messages, in bytes. A message takes
// about 800. The kernel grants less to unprivileged processes (net.core.rmem_max).
const watchQueue = 4 << 20

// WatchDestroyed watches the sockets of multicast groups whose messages pass a filter
// (classic BPF).
func WatchDestroyed(filter []unix.SockFilter, groups ...int) (*DestroyWatcher, error) {
	fd, err := Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	if SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, watchQueue) != nil {
		SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, watchQueue) // less, then
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil { // before the groups, so that the filter drops all other messages
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]})
	}
	for _, group := range groups {
		if err == nil {
			err = SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
		}
	}
	if err != nil {
		Close(fd)
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	w := &DestroyWatcher{file: os.NewFile(uintptr(fd), "sock_diag")}
	w.try = w.tryRead
	if w.raw, err = w.file.SyscallConn(); err != nil {
		w.file.Close()
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	return w, nil
}

// Next waits for the next socket that was destroyed. It fails with ErrMissed if messages
// were lost; the caller can call it again then. After Close, it fails with an error that
// wraps os.ErrClosed.
//
// When the queue is full, the kernel drops all messages without a further report, until
// the queue has been read to its end (NETLINK_S_CONGESTED in net/netlink/af_netlink.c).
// Next returns ErrMissed only then, so what the caller finds out about all sockets
// afterwards is complete.
func (w *DestroyWatcher) Next() (DiagSocket, error) {
	for {
		if err := w.raw.Read(w.try); err != nil { // it has no deadline
			return DiagSocket{}, errors.Join(os.ErrClosed, err)
		}
		switch {
		case w.err == nil:
			if s, ok := parseDiag(w.buf[:w.n]); ok {
				return s, nil
			}
		case errors.Is(w.err, unix.ENOBUFS), errors.Is(w.err, unix.ENOMEM): // netlink(7)
			w.missed = true
		case errors.Is(w.err, unix.EAGAIN):
			w.missed = false
			return DiagSocket{}, ErrMissed
		default:
			return DiagSocket{}, fmt.Errorf("sock_diag: %w", w.err)
		}
	}
}

// tryRead returns false if there is no message.
func (w *DestroyWatcher) tryRead(fd uintptr) bool {
	w.n, w.err = untilDone(Read, int(fd), w.buf[:])
	return !errors.Is(w.err, unix.EAGAIN) || w.missed
}

// Close ends a Next that waits.
func (w *DestroyWatcher) Close() error { return w.file.Close() }
