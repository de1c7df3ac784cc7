package syscalls

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// readiness waits for many sockets of programs with one epoll(7) instance, which itself
// waits in the runtime's poller. A waiting call thus costs a goroutine and no thread. The
// runtime's poller cannot wait for the sockets themselves, because they may be blocking.
type readiness struct {
	file *os.File // the epoll instance
	raw  syscall.RawConn
	done chan struct{} // closed when serve has ended

	mu     sync.Mutex
	tokens map[uint64]chan<- int // by the number in struct epoll_event; buffered
	last   uint64
	held   map[uint64]*hold // by cookie
}

func newReadiness() (*readiness, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("epoll_create: %w", err)
	}
	// os.NewFile adds only non-blocking files to the poller
	if err := linux.SetNonblock(fd, true); err != nil {
		linux.Close(fd)
		return nil, fmt.Errorf("epoll: %w", err)
	}
	r := &readiness{file: os.NewFile(uintptr(fd), "epoll"), done: make(chan struct{}),
		tokens: make(map[uint64]chan<- int), held: make(map[uint64]*hold)}
	if r.raw, err = r.file.SyscallConn(); err != nil {
		r.file.Close()
		return nil, fmt.Errorf("epoll: %w", err)
	}
	go r.serve()
	return r, nil
}

// close ends serve. The caller has ended all waits.
func (r *readiness) close() {
	r.file.Close()
	<-r.done
}

// serve wakes waiting calls until r is closed.
func (r *readiness) serve() {
	defer close(r.done)
	var events [128]unix.EpollEvent
	r.raw.Read(func(epoll uintptr) bool {
		for { // until no event is left: the poller reports only changes
			n, err := unix.EpollWait(int(epoll), events[:], 0)
			if err != nil && !errors.Is(err, unix.EINTR) {
				return true // impossible for a descriptor of epoll
			}
			if n == 0 {
				return false
			}
			r.tell(events[:max(n, 0)])
		}
	})
}

func (r *readiness) tell(events []unix.EpollEvent) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		token := uint64(uint32(e.Fd)) | uint64(uint32(e.Pad))<<32
		if to, ok := r.tokens[token]; ok {
			to <- int(token)
			delete(r.tokens, token) // EPOLLONESHOT
		}
	}
}

// watch sends a token to the channel to when one of the events is ready at fd, once. It
// returns that token. to must have room for it. The caller must call forget before it
// closes fd.
func (r *readiness) watch(fd int, events int16, to chan<- int) (token int, forget func(),
	err error) {
	r.mu.Lock()
	r.last++
	number := r.last
	r.tokens[number] = to
	r.mu.Unlock()
	e := unix.EpollEvent{Events: uint32(events) | unix.EPOLLONESHOT, Fd: int32(number),
		Pad: int32(number >> 32)}
	forget = func() {
		r.control(unix.EPOLL_CTL_DEL, fd, nil)
		r.mu.Lock()
		delete(r.tokens, number)
		r.mu.Unlock()
	}
	if err := r.control(unix.EPOLL_CTL_ADD, fd, &e); err != nil {
		forget()
		return 0, nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return int(number), forget, nil
}

func (r *readiness) control(op, fd int, e *unix.EpollEvent) error {
	var err error
	failed := r.raw.Control(func(epoll uintptr) { err = unix.EpollCtl(int(epoll), op, fd, e) })
	return errors.Join(failed, err)
}

// wait waits until one of the events is ready at fd. It fails with ctx's error, or with
// EAGAIN when the socket's timeout opt (SO_RCVTIMEO or SO_SNDTIMEO) expires.
func (r *readiness) wait(ctx context.Context, fd int, events int16, opt int) error {
	expired, stop := socketTimer(fd, opt)
	defer stop()
	return r.waitEither(ctx, fd, events, expired, -1)
}

// waitEither waits until one of the events is ready at fd. It fails with ctx's error,
// with EAGAIN when expired fires, and with EINTR when ended, if it is not negative,
// becomes readable.
func (r *readiness) waitEither(ctx context.Context, fd int, events int16,
	expired <-chan time.Time, ended int) error {
	told := make(chan int, 2)
	ready, forget, err := r.watch(fd, events, told)
	if err != nil {
		return err
	}
	defer forget()
	if ended >= 0 {
		_, forget, err := r.watch(ended, unix.POLLIN, told)
		if err != nil {
			return err
		}
		defer forget()
	}
	select {
	case token := <-told:
		if token != ready {
			return unix.EINTR
		}
		return nil
	case <-expired:
		return unix.EAGAIN
	case <-ctx.Done():
		return ctx.Err()
	}
}

// socketTimer returns a channel that fires when the given timeout of the
// socket expires; never, if it has none.
func socketTimer(fd, opt int) (<-chan time.Time, func()) {
	tv, err := timeout(fd, opt)
	if err != nil || tv.Nano() == 0 {
		return nil, func() {}
	}
	t := time.NewTimer(time.Duration(tv.Nano()))
	return t.C, func() { t.Stop() }
}
