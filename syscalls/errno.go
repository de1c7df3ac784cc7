package syscalls

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// Errno maps a Go error to the program's errno; no other code does that. An error that it
// does not know is an internal failure of boxer: EIO.
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
