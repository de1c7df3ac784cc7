package syscalls

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// Constants of linux/sock_diag.h and linux/inet_diag.h, and offsets into what the
// kernel sends: struct nlmsghdr of 16 bytes, then struct inet_diag_msg.
const (
	sockDiagByFamily = 20 // SOCK_DIAG_BY_FAMILY
	groupTCPDestroy  = 1  // SKNLGRP_INET_TCP_DESTROY
	// SKNLGRP_INET6_TCP_DESTROY: AF_INET6 sockets, whatever their address
	groupTCPDestroy6 = 3

	diagFamily  = 16
	diagState   = 16 + 1
	diagSport   = 16 + 4  // big endian
	diagDport   = 16 + 6  // big endian, 0 for what is not connected
	diagSource  = 16 + 8  // 16 bytes, of which IPv4 uses 4
	diagRqueue  = 16 + 56 // of a listener: how many connections wait for accept(2)
	diagWqueue  = 16 + 60 // of a listener: its backlog
	diagMsgSize = 16 + 72
)

// closings tells of sockets of this host's that were closed. The kernel sends a message
// when the last reference to a socket goes, no matter how (sk_free in net/core/sock.c);
// it takes no privilege to hear them.
type closings struct {
	file *os.File
	buf  [4096]byte
}

// newListenerClosings tells of TCP sockets that had a port and no peer: listeners above
// all.
func newListenerClosings() (*closings, error) {
	return newClosings(unconnected, groupTCPDestroy, groupTCPDestroy6)
}

// newClosings tells of the sockets that multicast groups of sock_diag(7) are about, and
// that a filter passes.
func newClosings(filter []unix.SockFilter, groups ...int) (*closings, error) {
	fd, err := linux.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK,
		unix.NETLINK_SOCK_DIAG)

	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil { // first: what comes in before the filter is there only costs
		err = unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{
				Len: uint16(len(filter)), Filter: &filter[0],
			})
	}
	for _, group := range groups {
		if err == nil {
			err = linux.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group)
		}
	}
	if err != nil {
		linux.Close(fd)
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	return &closings{file: os.NewFile(uintptr(fd), "sock_diag")}, nil
}

// unconnected is a filter that passes the messages about sockets that had a port and
// no peer: each connection of the host would wake us up.
var unconnected = []unix.SockFilter{
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: diagDport},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jf: 3},
	{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: diagSport},
	{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: 0, Jt: 1},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0xffff},
	{Code: unix.BPF_RET | unix.BPF_K, K: 0},
}

// next returns the cookie of the next socket that is gone (SO_COOKIE, socket(7)), and 0
// if some were missed, since they were too many. It fails when c is closed.
func (c *closings) next() (cookie uint64, err error) {
	m, err := c.nextMessage()
	return m.cookie, err
}

// nextMessage is next, with all that the kernel says of the socket.
func (c *closings) nextMessage() (diagMessage, error) {
	for {
		n, err := c.file.Read(c.buf[:])
		if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.ENOMEM) { // netlink(7)
			return diagMessage{}, nil
		}
		if err != nil {
			return diagMessage{}, err
		}
		if m, ok := parseDiag(c.buf[:n]); ok {
			return m, nil
		}
	}
}

func (c *closings) close() error { return c.file.Close() }

// A diagMessage is what the kernel says about a TCP socket.
type diagMessage struct {
	addr netip.AddrPort // its own
	// SO_COOKIE, socket(7): it identifies the socket for life
	cookie           uint64
	state            byte   // as in tcp_states.h
	waiting, backlog uint32 // of a listener
}

// parseDiag reads a message of sock_diag(7).
func parseDiag(b []byte) (m diagMessage, ok bool) {
	if len(b) < diagMsgSize || binary.NativeEndian.Uint16(b[4:]) != sockDiagByFamily {
		return diagMessage{}, false
	}
	switch b[diagFamily] {
	case unix.AF_INET:
		m.addr = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[diagSource:])),
			binary.BigEndian.Uint16(b[diagSport:]))
	case unix.AF_INET6:
		m.addr = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[diagSource:])).Unmap(),
			binary.BigEndian.Uint16(b[diagSport:]))
	default:
		return diagMessage{}, false
	}
	m.state = b[diagState]
	m.cookie = binary.NativeEndian.Uint64(b[diagCookie:])
	m.waiting = binary.NativeEndian.Uint32(b[diagRqueue:])
	m.backlog = binary.NativeEndian.Uint32(b[diagWqueue:])
	return m, true
}
