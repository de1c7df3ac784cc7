package natlab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A wire adds delay to a link: it delays every frame by the same time, each way. It also
// works on kernels without netem: the two halves of the link end in packet sockets
// (packet(7)), and goroutines carry the frames between them.
//
//	host eth0 ── W0a ─(wire)─ W0b ── gateway's link
type wire struct {
	delay time.Duration
	ends  [2]*os.File
	ways  sync.WaitGroup
	errs  [4]error // by goroutine
}

// wireQueue bounds the frames in flight in one direction. It suffices for more than 1
// Gbit/s of full frames with a delay of half a second.
const wireQueue = 1 << 16

// A frame is in flight until due.
type frame struct {
	due   time.Time
	bytes []byte // with a struct virtio_net_hdr before it
}

// newWire carries frames between two interfaces of the namespace, until close.
func newWire(ns *namespace, a, b string, delay time.Duration) (*wire, error) {
	w := &wire{delay: delay}
	err := ns.do(func() error {
		for i, dev := range []string{a, b} {
			// Frames that arrive at the wire are not for this host, so the host must not
			// answer ARP there.
			if err := os.WriteFile("/proc/sys/net/ipv4/conf/"+dev+"/arp_ignore",
				[]byte("8"), 0); err != nil {
				return err
			}
			var err error
			if w.ends[i], err = wireSocket(dev); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("natlab: wire in %s: %w", ns.name, err),
			w.close())
	}
	for i := range w.ends {
		frames := make(chan frame, wireQueue)
		w.ways.Go(func() {
			defer close(frames)
			w.errs[2*i] = w.receive(w.ends[i], frames)
		})
		w.ways.Go(func() { w.errs[2*i+1] = w.send(w.ends[1-i], frames) })
	}
	return w, nil
}

// close drops the frames in flight.
func (w *wire) close() error {
	var errs []error
	for _, f := range w.ends {
		if f != nil {
			errs = append(errs, f.SetDeadline(time.Now()))
		}
	}
	w.ways.Wait()
	for _, f := range w.ends {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(append(errs, w.errs[:]...)...)
}

// wireSocket opens a socket for the frames that arrive at an interface. Each frame has a
// virtio_net_hdr, which says which checksums must still be filled in.
func wireSocket(dev string) (*os.File, error) {
	link, err := net.InterfaceByName(dev)
	if err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_PACKET,
		unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "wire")
	for _, opt := range []int{unix.PACKET_VNET_HDR, unix.PACKET_IGNORE_OUTGOING} {
		if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, opt, 1); err != nil {
			file.Close()
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE,
		captureBuffer) != nil {
		// a wire may lose
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, captureBuffer)
	}
	addr := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL),
		Ifindex: link.Index}
	if err := unix.Bind(fd, addr); err != nil {
		file.Close()
		return nil, os.NewSyscallError("bind", err)
	}
	return file, nil
}

// receive queues arriving frames until the file's deadline.
func (w *wire) receive(from *os.File, frames chan<- frame) error {
	buf := make([]byte, 1<<17) // larger than any frame
	for {
		n, err := from.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, unix.ENETDOWN): // a link has gone
			continue
		case err != nil:
			return err
		}
		select {
		case frames <- frame{time.Now().Add(w.delay), append([]byte(nil), buf[:n]...)}:
		default: // a full queue drops the frame, as a router does
		}
	}
}

// send delivers frames when they are due.
func (w *wire) send(to *os.File, frames <-chan frame) error {
	var failed error
	for f := range frames {
		if failed != nil {
			continue // until the receiver stops
		}
		time.Sleep(time.Until(f.due))
		_, err := to.Write(f.bytes)
		switch {
		case err == nil, errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENOBUFS):
		case errors.Is(err, os.ErrDeadlineExceeded):
			failed = os.ErrDeadlineExceeded
		default:
			failed = err
		}
	}
	if errors.Is(failed, os.ErrDeadlineExceeded) {
		return nil
	}
	return failed
}

// connectLong makes the two halves of a link with a delay, before the rest of connect.
// The inner ends have names that no host can have.
func (g *gateway) connectLong(ctx context.Context, ns *namespace,
	delay time.Duration) error {
	g.mu.Lock()
	n := len(g.wires)
	g.wires = append(g.wires, nil)
	g.mu.Unlock()
	a, b := fmt.Sprintf("W%da", n), fmt.Sprintf("W%db", n)
	// Switch segmentation offload off, so that packets have the size of those on a real
	// wire. Then the loss of one packet loses no more than that packet.
	err := g.ns.ip(ctx,
		fmt.Sprintf("link add name %s type veth peer name %s netns %s", a, uplink,
			ns.path()),
		fmt.Sprintf("link add name %s type veth peer name %s", b, ns.name),
		fmt.Sprintf("link set dev %s gso_max_segs 1", ns.name),
		fmt.Sprintf("link set dev %s up", a),
		fmt.Sprintf("link set dev %s up", b))
	if err != nil {
		return err
	}
	if err := ns.ip(ctx, fmt.Sprintf("link set dev %s gso_max_segs 1", uplink)); err != nil {
		return err
	}
	w, err := newWire(g.ns, a, b, delay)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wires[n] = w
	return nil
}

// closeWires ends the wires of all links.
func (g *gateway) closeWires() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	var errs []error
	for _, w := range g.wires {
		if w != nil {
			errs = append(errs, w.close())
		}
	}
	return errors.Join(errs...)
}
