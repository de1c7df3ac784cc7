package launcher

import (
	"errors"
	"fmt"
	"slices"

	"github.com/boxer-sandbox/boxer/transport"
	"golang.org/x/sys/unix"
)

// outcomes maps between errnos and the status that a node answers to another node's
// connect. errnoOf and statusOf read it; the first row with the status or the errno
// counts.
var outcomes = []struct {
	status transport.Status
	errno  unix.Errno   // connect(2) fails with it at the connecting node
	from   []unix.Errno // the connect at the listening node failed with one of these
}{
	{transport.StatusOK, 0, []unix.Errno{0}},
	{transport.StatusRefused, unix.ECONNREFUSED, []unix.Errno{unix.ECONNREFUSED}},
	{transport.StatusTimeout, unix.ETIMEDOUT, []unix.Errno{unix.ETIMEDOUT, unix.EINTR}},
	{transport.StatusBusy, unix.ECONNRESET, []unix.Errno{unix.EMFILE, unix.ENFILE,
		unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL}},
	{transport.StatusForbidden, unix.EACCES, nil}, // the policy denies it
	{transport.StatusUnreachable, unix.EHOSTUNREACH, []unix.Errno{unix.EHOSTUNREACH}},
}

// errnoOf returns the errno of connect(2) for a peer's status. A status of a later
// version, which the table does not have, becomes EHOSTUNREACH.
func errnoOf(s transport.Status) unix.Errno {
	for _, o := range outcomes {
		if o.status == s {
			return o.errno
		}
	}
	return unix.EHOSTUNREACH
}

// statusOf returns the status for an errno: StatusUnreachable if the table does not have
// it.
func statusOf(errno unix.Errno) transport.Status {
	for _, o := range outcomes {
		if slices.Contains(o.from, errno) {
			return o.status
		}
	}
	return transport.StatusUnreachable
}

// withErrno wraps an error of the transport so that programs get the right errno.
func withErrno(err error) error {
	var status *transport.StatusError
	errno := unix.EHOSTUNREACH
	switch {
	case errors.As(err, &status):
		errno = errnoOf(status.Status)
	case !errors.Is(err, transport.ErrNoPath) && !errors.Is(err, transport.ErrNoPeer) &&
		!errors.Is(err, transport.ErrLost):
		return err
	}
	return fmt.Errorf("%w: %w", err, errno)
}
