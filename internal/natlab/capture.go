package natlab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A Capture gives every IP packet that passes a point of the lab to a function
// (packet(7)).
type Capture struct {
	file *os.File
	done chan struct{} // closed when the reading goroutine has ended
	stop func() error
}

// captureBuffer is what the kernel may hold unread, in bytes. The kernel doubles it, and
// without root bounds it.
const captureBuffer = 32 << 20

// Capture calls f with each packet that the host sends or receives on eth0, from the IP
// header on. Calls come from one goroutine; packet is valid only during the call. Packets
// may be larger than the link allows and lack their checksums, as for a network card.
func (h *Host) Capture(f func(packet []byte)) (*Capture, error) {
	return h.ns.capture(uplink, f)
}

// Capture calls f with each packet on the internet's links, as Host.Capture does: what is
// routed comes twice, on its way in and on its way out.
func (l *Lab) Capture(f func(packet []byte)) (*Capture, error) {
	return l.internet.ns.capture("", f)
}

// capture captures on one interface of the namespace, or on all if its name is empty.
func (ns *namespace) capture(dev string, f func(packet []byte)) (*Capture, error) {
	var file *os.File
	err := ns.do(func() (err error) {
		file, err = packetSocket(dev)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("natlab: capture on %s: %w", ns.name, err)
	}
	c := &Capture{file: file, done: make(chan struct{})}
	var readErr error
	go func() {
		defer close(c.done)
		readErr = c.read(f)
	}()
	c.stop = sync.OnceValue(func() error {
		// From now on reads that would wait fail; those that find a packet do not.
		err := file.SetReadDeadline(time.Now())
		<-c.done
		err = errors.Join(err, readErr, c.losses(), file.Close())
		if err != nil {
			return fmt.Errorf("natlab: capture on %s: %w", ns.name, err)
		}
		return nil
	})
	return c, nil
}

// Close ends the capture when all packets so far have been given to the function. It
// fails if packets were lost.
func (c *Capture) Close() error { return c.stop() }

// packetSocket opens a socket that sees the packets of an interface of the calling
// thread's network namespace, of all if dev is empty.
func packetSocket(dev string) (*os.File, error) {
	// All protocols: a socket for IP alone sees no packets on their way out.
	addr := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL)}
	if dev != "" {
		link, err := net.InterfaceByName(dev)
		if err != nil {
			return nil, err
		}
		addr.Ifindex = link.Index
	}
	fd, err := unix.Socket(unix.AF_PACKET,
		unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "packets")
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE,
		captureBuffer) != nil {
		// Close reports whether it was too small
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer)
	}
	if err := unix.Bind(fd, addr); err != nil {
		file.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return file, nil
}

// bigEndian returns n in network byte order.
func bigEndian(n uint16) uint16 {
	return binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, n))
}

// read gives packets to f until the file's deadline has passed and none is left.
func (c *Capture) read(f func(packet []byte)) error {
	conn, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<18) // more than any packet has
	var recvErr error
	readable := func(fd uintptr) bool {
		for {
			n, from, err := unix.Recvfrom(int(fd), buf, 0)
			switch {
			case errors.Is(err, unix.EAGAIN):
				return false
			case errors.Is(err, unix.EINTR):
			case errors.Is(err, unix.ENETDOWN): // the link has gone
			case err != nil:
				recvErr = os.NewSyscallError("recvfrom", err)
				return true
			default:
				ll, ok := from.(*unix.SockaddrLinklayer)
				if ok && (ll.Protocol == bigEndian(unix.ETH_P_IP) ||
					ll.Protocol == bigEndian(unix.ETH_P_IPV6)) {
					f(buf[:n])
				}
			}
		}
	}
	if err := conn.Read(readable); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if recvErr != nil {
		return recvErr
	}
	if err := conn.Control(func(fd uintptr) { readable(fd) }); err != nil {
		return err
	}
	return recvErr
}

// losses returns an error if the kernel had no room for a packet.
func (c *Capture) losses() error {
	conn, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	var stats *unix.TpacketStats
	var statsErr error
	err = conn.Control(func(fd uintptr) {
		stats, statsErr = unix.GetsockoptTpacketStats(int(fd), unix.SOL_PACKET,
			unix.PACKET_STATISTICS)
	})
	switch {
	case err != nil:
		return err
	case statsErr != nil:
		return os.NewSyscallError("getsockopt", statsErr)
	case stats.Drops > 0:
		return fmt.Errorf("%d packets lost", stats.Drops)
	}
	return nil
}
