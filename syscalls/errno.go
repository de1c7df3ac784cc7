package syscalls

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// Errno is the only place where a Go error becomes the program's errno. An
// error that no case knows is boxer's own failure: EIO.
func Errno(err error) unix.Errno {
	var errno unix.Errno
	switch {
	case err == nil:
		return 0
	case errors.As(err, &errno):
		return errno
	case errors.Is(err, context.DeadlineExceeded):
		return unix.ETIMEDOUT
	case errors.Is(err, context.Canceled):
		return unix.EINTR
	case errors.Is(err, net.ErrClosed):
		return unix.ECONNRESET
	}
	return unix.EIO
}
