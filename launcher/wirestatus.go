package launcher

import (
	"errors"
	"fmt"
	"slices"

	"github.com/boxer-sandbox/boxer/transport"
	"golang.org/x/sys/unix"
)

// outcomes is the one table between errnos and what a node answers to a connect of
// another: errnoOf and statusOf read it. The first row with a status or an errno counts.
var outcomes = []struct {
	status transport.Status
	errno  unix.Errno   // what connect(2) comes to at the node that has asked
	from   []unix.Errno // what it has come to at the node that answers
}{
	{transport.StatusOK, 0, []unix.Errno{0}},
	{transport.StatusRefused, unix.ECONNREFUSED, []unix.Errno{unix.ECONNREFUSED}},
	{transport.StatusTimeout, unix.ETIMEDOUT, []unix.Errno{unix.ETIMEDOUT, unix.EINTR}},
	{transport.StatusBusy, unix.ECONNRESET, []unix.Errno{unix.EMFILE, unix.ENFILE,
		unix.ENOBUFS, unix.ENOMEM, unix.EADDRNOTAVAIL}},
	{transport.StatusForbidden, unix.EACCES, nil}, // for a policy; there is none yet
	{transport.StatusUnreachable, unix.EHOSTUNREACH, []unix.Errno{unix.EHOSTUNREACH}},
}

// errnoOf returns what connect(2) comes to after a peer's answer. An answer of a later
// version, which the table does not have, is EHOSTUNREACH.
func errnoOf(s transport.Status) unix.Errno {
	for _, o := range outcomes {
		if o.status == s {
			return o.errno
		}
	}
	return unix.EHOSTUNREACH
}

// statusOf returns what a peer is told of an errno: StatusUnreachable if the table does
// not have it.
func statusOf(errno unix.Errno) transport.Status {
	for _, o := range outcomes {
		if slices.Contains(o.from, errno) {
			return o.status
		}
	}
	return transport.StatusUnreachable
}

// withErrno gives an error of the transport the errno that programs get for it.
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
