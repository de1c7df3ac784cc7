package transport

import (
	"net"
	"net/netip"
	"syscall"
	"time"
)

// A wire carries the datagrams of a Socket: a UDP socket of the kernel's, or a network in
// memory that a test has made. One goroutine receives; any may send.
type wire interface {
	// send sends a datagram, or several of one size with UDP_SEGMENT among the control
	// messages oob (udp(7)), to an IPv4 address. It copies both. Its errors are those of
	// a closed socket or a passed deadline, and *os.SyscallError.
	send(b, oob []byte, to netip.AddrPort) error
	// receive waits until datagrams have come in, and returns how many. They are valid
	// until it is called again. Its errors are those of a closed socket or a passed
	// deadline.
	receive() (count int, err error)
	// datagram returns the i-th datagram of the last receive, its control messages and
	// sender. whole is false if the datagram has to be dropped, for lack of room or
	// because its sender's address is not of IPv4.
	datagram(i int) (data, control []byte, from netip.AddrPort, whole bool)
	// setReadDeadline ends a receive at a time; the zero time means never.
	setReadDeadline(t time.Time) error
	close() error
}

// A kernelWire is a wire over a UDP socket.
type kernelWire struct {
	*kernelReceiver
	conn *net.UDPConn
	raw  syscall.RawConn
}

var _ wire = (*kernelWire)(nil)

func newKernelWire(conn *net.UDPConn, raw syscall.RawConn) *kernelWire {
	return &kernelWire{kernelReceiver: newKernelReceiver(raw), conn: conn, raw: raw}
}

func (w *kernelWire) send(b, oob []byte, to netip.AddrPort) error {
	return sendMessage(w.raw, b, oob, to)
}

func (w *kernelWire) setReadDeadline(t time.Time) error { return w.conn.SetReadDeadline(t) }

func (w *kernelWire) close() error { return w.conn.Close() }
