package syscalls

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/stream"
	"golang.org/x/sys/unix"
)

// A flowPoll waits for the sockets of all flows with one epoll(7) instance, which itself
// waits in the runtime's poller. An idle flow costs no goroutine and no buffer.
type flowPoll struct {
	file *os.File // the epoll instance
	raw  syscall.RawConn

	// busy is set while a datagram is not forwarded yet.
	busy atomic.Bool
}

func newFlowPoll() (*flowPoll, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	if err := linux.SetNonblock(fd, true); err != nil { // needed for the runtime's poller
		linux.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	p := &flowPoll{file: os.NewFile(uintptr(fd), "epoll")}
	if p.raw, err = p.file.SyscallConn(); err != nil {
		p.file.Close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return p, nil
}

// add makes the poll report a socket by a token, until the socket is closed.
func (p *flowPoll) add(fd int, token uint64) error {
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET&0xffffffff, Fd: int32(token),
		Pad: int32(token >> 32)}
	var err error
	failed := p.raw.Control(func(epoll uintptr) {
		err = unix.EpollCtl(int(epoll),
			unix.EPOLL_CTL_ADD, fd, &e)
	})
	return errors.Join(failed, err)
}

// wait returns the number of events. If may is set, it waits for some. After close, it
// fails with net.ErrClosed.
func (p *flowPoll) wait(events []unix.EpollEvent, may bool) (got int, err error) {
	e := p.raw.Read(func(epoll uintptr) bool {
		got, err = unix.EpollWait(int(epoll), events, 0)
		return err != nil && !errors.Is(err, unix.EINTR) || got > 0 || !may
	})
	if e != nil || err != nil && !errors.Is(err, unix.EINTR) {
		return 0, net.ErrClosed
	}
	return max(got, 0), nil
}

// flowTurn is how many datagrams of a flow are forwarded before it is the next flow's
// turn.
const flowTurn = 32

// serveFlows forwards programs' datagrams to the flows' endpoints, until the poll is
// closed.
func (u *udp) serveFlows(p *flowPoll) {
	var events [64]unix.EpollEvent
	var more []*flow // flows that may have more datagrams
	for {
		got, err := p.wait(events[:], len(more) == 0)
		if err != nil {
			return
		}
		turn := more
		more = nil
		u.flows.mu.Lock()
		for _, e := range events[:got] {
			token := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
			if fl, ok := u.flows.byToken[token]; ok {
				u.flows.usedLocked(fl)
				turn = append(turn, fl)
			}
		}
		u.flows.mu.Unlock()
		for _, fl := range turn {
			if u.serveFlow(p, fl) {
				more = append(more, fl)
			}
		}
	}
}

// serveFlow forwards the datagrams that have arrived at a flow. It returns true if there
// may be more.
func (u *udp) serveFlow(p *flowPoll, fl *flow) (more bool) {
	buf := datagramBuffers.Get().(*[maxDatagram + 1]byte)
	defer datagramBuffers.Put(buf)
	p.busy.Store(true)
	fl.busy.Store(true)
	defer p.busy.Store(false)
	defer fl.busy.Store(false)
	for range flowTurn {
		size, from, ip, err := fl.receive(buf[:], u.ipChosen.Load())
		if errors.Is(err, unix.EAGAIN) || err == net.ErrClosed {
			return false
		}
		u.sendOut(fl, from, ip, buf[:size], err)
	}
	return true
}

// carrying reports whether the flow has a datagram that is not forwarded yet. A datagram
// that a program sends now must not overtake it.
func (fl *flow) carrying() bool {
	return fl.queued() > 0 || fl.busy.Load()
}

// queued returns the size of the next datagram in the socket's queue, in bytes.
func (fl *flow) queued() (size int) {
	fl.control(func(fd int) (err error) {
		size, err = unix.IoctlGetInt(fd, unix.SIOCINQ)
		return err
	})
	return size
}

// receive receives a datagram from the flow's socket without waiting. Only serveFlow
// calls it. If programs choose fields of IP headers, it returns those of the datagram.
func (fl *flow) receive(b []byte, chosen bool) (size int, from netip.AddrPort,
	ip stream.IPFields, err error) {
	err = fl.control(func(fd int) error {
		var sa unix.Sockaddr
		var err error
		if chosen {
			size, sa, ip, err = fl.receiveFields(fd, b)
		} else {
			size, sa, err = unix.Recvfrom(fd, b, unix.MSG_DONTWAIT)
		}
		if in4, ok := sa.(*unix.SockaddrInet4); ok {
			from = netip.AddrPortFrom(netip.AddrFrom4(in4.Addr), uint16(in4.Port))
		}
		return err
	})
	return max(size, 0), from, ip, err
}

// receiveFields receives a datagram with the fields of its IP header from a flow's
// socket.
func (fl *flow) receiveFields(fd int, b []byte) (size int, from unix.Sockaddr,
	ip stream.IPFields, err error) {
	if !fl.tells { // also for queued datagrams: recvmsg(2) makes the control messages
		for _, name := range []int{unix.IP_RECVTTL, unix.IP_RECVTOS} {
			if err := linux.SetsockoptInt(fd, unix.IPPROTO_IP, name, 1); err != nil {
				return 0, nil, ip, err
			}
		}
		fl.tells = true
	}
	var control [64]byte
	size, oobn, _, from, err := unix.Recvmsg(fd, b, control[:], unix.MSG_DONTWAIT)
	if err == nil {
		_, ip = cutIPFields(control[:oobn], ip)
	}
	return size, from, ip, err
}
