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

// A Capture passes every IP packet at a point of the lab to a function (packet(7)).
type Capture struct {
	file *os.File
	done chan struct{} // closed when the reading goroutine has ended
	stop func() error
}

// captureBuffer is the size of the socket's receive buffer, in bytes. The kernel doubles
// it, and limits it if the process is not root.
const captureBuffer = 32 << 20

// Capture calls f with each packet that the host sends or receives on eth0, from the IP
// header on. Calls come from one goroutine; packet is valid only during the call. Packets
// may be larger than the link allows and lack their checksums, as for a network card.
func (h *Host) Capture(f func(packet []byte)) (*Capture, error) {
	return h.ns.capture(uplink, f)
}

// Capture calls f with each packet on the internet's links, as Host.Capture does. A
// routed packet appears twice, once on the way in and once on the way out.
func (l *Lab) Capture(f func(packet []byte)) (*Capture, error) {
	return l.internet.ns.capture("", f)
}

// capture captures on one interface of the namespace, or on all interfaces if the name is
// empty.
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
		// From now on a read fails if it would have to wait, and succeeds if there is a
		// packet.
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

// Close ends the capture after the function has received all packets so far. It fails if
// packets were lost.
func (c *Capture) Close() error { return c.stop() }

// packetSocket opens a socket that receives the packets of an interface in the calling
// thread's network namespace, or of all interfaces if dev is empty.
func packetSocket(dev string) (*os.File, error) {
	// Use all protocols, because a socket for IP alone does not see outgoing packets.
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
		// Close reports packets lost because the buffer was too small
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

// read passes packets to f until the file's deadline has passed and no packet is left.
func (c *Capture) read(f func(packet []byte)) error {
	conn, err := c.file.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 1<<18) // larger than any packet
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

// losses returns an error if the kernel dropped a packet because the buffer was full.
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
