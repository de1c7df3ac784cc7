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

// getsocknames measures a call that boxer traps. Signals are masked meanwhile: the runtime's SIGURG would end some calls
// and have the kernel make them again.
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
		// Raw: the runtime must not take it for a call that waits.
		_, _, errno := unix.RawSyscall(unix.SYS_GETSOCKNAME, fd, uintptr(unsafe.Pointer(&name)), uintptr(unsafe.Pointer(&size)))
		samples[i] = time.Since(start)
		if errno != 0 {
			return fmt.Errorf("getsockname: %w", errno)
		}
	}
	return nil
}

// masked calls f on a thread that gets no signals.
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
