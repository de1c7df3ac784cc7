package meter

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// getsocknames measures a call that boxer traps. It blocks signals, because the runtime's
// SIGURG would interrupt some calls and make the kernel restart them.
func getsocknames(ctx context.Context, dial Dialer, count int) (Result, error) {
	c, err := open(ctx, dial, modeEcho)
	if err != nil {
		return Result{}, err
	}
	defer c.Close()
	socket, ok := c.(syscall.Conn)
	if !ok {
		return Result{}, errors.New("not a socket of the kernel")
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return Result{}, err
	}
	samples := make([]time.Duration, count)
	var failed error
	err = raw.Control(func(fd uintptr) { failed = masked(func() error { return timeGetsockname(fd, samples) }) })
	return Result{Samples: samples}, errors.Join(err, failed)
}

func timeGetsockname(fd uintptr, samples []time.Duration) error {
	var name unix.RawSockaddrAny
	for i := range samples {
		size := uint32(unix.SizeofSockaddrAny)
		start := time.Now()
		// Use a raw call, so that the runtime does not treat it as a blocking call.
		_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, fd,
			uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)))
		samples[i] = time.Since(start)
		if errno != 0 {
			return fmt.Errorf("getsockname: %w", errno)
		}
	}
	return nil
}

// accepts measures accept4(2) on a listener without connections. It requests the address,
// because boxer does not trap the call otherwise.
func accepts(count int) (Result, error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return Result{}, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(l)
	if err := listenHere(l); err != nil {
		return Result{}, err
	}
	samples := make([]time.Duration, count)
	err = masked(func() error {
		var name unix.RawSockaddrAny
		for i := range samples {
			size := uint32(unix.SizeofSockaddrAny)
			start := time.Now()
			_, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(l),
				uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)), 0, 0, 0)
			samples[i] = time.Since(start)
			if errno != unix.EAGAIN {
				return fmt.Errorf("accept4 where nobody connects: %w", errno)
			}
		}
		return nil
	})
	return Result{Samples: samples}, err
}

// connectsHere measures connect(2) to a listener of this process. It closes both ends
// before the next connect.
func connectsHere(count int) (Result, error) {
	l, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return Result{}, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(l)
	if err := listenHere(l); err != nil {
		return Result{}, err
	}
	to, err := unix.Getsockname(l)
	if err != nil {
		return Result{}, fmt.Errorf("getsockname: %w", err)
	}
	samples := make([]time.Duration, count)
	err = masked(func() error {
		for i := range samples {
			if samples[i], err = connectHere(l, to); err != nil {
				return err
			}
		}
		return nil
	})
	return Result{Samples: samples}, err
}

func connectHere(listener int, to unix.Sockaddr) (time.Duration, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0, fmt.Errorf("socket: %w", err)
	}
	defer unix.Close(fd)
	start := time.Now()
	err = unix.Connect(fd, to)
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("connect: %w", err)
	}
	far, _, errno := unix.Syscall6(unix.SYS_ACCEPT4, uintptr(listener), 0, 0, 0, 0, 0)
	if errno != 0 {
		return 0, fmt.Errorf("accept4: %w", errno)
	}
	return took, unix.Close(int(far))
}

// listenHere listens on a free port of localhost.
func listenHere(fd int) error {
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	if err := unix.Listen(fd, 16); err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return nil
}

// masked calls f on a thread that blocks all signals.
func masked(f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return err
	}
	return errors.Join(f(), unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil))
}
