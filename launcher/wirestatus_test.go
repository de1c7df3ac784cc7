package launcher

import (
	"errors"
	"fmt"
	"testing"

	"github.com/boxer-sandbox/boxer/transport"
	"golang.org/x/sys/unix"
)

// TestOutcomes holds what connect(2) comes to, for what it came to at the far side.
func TestOutcomes(t *testing.T) {
	for _, tc := range []struct{ far, near unix.Errno }{
		{0, 0},
		{unix.ECONNREFUSED, unix.ECONNREFUSED},
		{unix.ETIMEDOUT, unix.ETIMEDOUT},
		{unix.EINTR, unix.ETIMEDOUT}, // the peer's node gave up
		{unix.EMFILE, unix.ECONNRESET},
		{unix.ENOMEM, unix.ECONNRESET},
		{unix.EADDRNOTAVAIL, unix.ECONNRESET},
		{unix.EHOSTUNREACH, unix.EHOSTUNREACH},
		{unix.EIO, unix.EHOSTUNREACH}, // boxer's own failure
	} {
		if got := errnoOf(statusOf(tc.far)); got != tc.near {
			t.Errorf("%v at the far side: %v, want %v", tc.far, got, tc.near)
		}
	}
	seen := make(map[transport.Status]bool)
	for _, o := range outcomes {
		if seen[o.status] {
			t.Errorf("%v has two rows", o.status)
		}
		seen[o.status] = true
	}
	for s := transport.StatusOK; s <= transport.StatusForbidden; s++ {
		if !seen[s] {
			t.Errorf("%v has no row", s)
		}
	}
}

// TestWithErrno holds the errno of errors that the transport has.
func TestWithErrno(t *testing.T) {
	other := errors.New("other")
	for _, tc := range []struct {
		err  error
		want unix.Errno // 0: none
	}{
		{&transport.StatusError{Status: transport.StatusRefused}, unix.ECONNREFUSED},
		{fmt.Errorf("open: %w", &transport.StatusError{Status: transport.StatusForbidden}), unix.EACCES},
		{&transport.StatusError{Status: 200}, unix.EHOSTUNREACH},
		{fmt.Errorf("open: %w", transport.ErrNoPath), unix.EHOSTUNREACH},
		{transport.ErrNoPeer, unix.EHOSTUNREACH},
		{transport.ErrLost, unix.EHOSTUNREACH},
		{other, 0},
	} {
		got := withErrno(tc.err)
		var errno unix.Errno
		errors.As(got, &errno)
		if errno != tc.want || !errors.Is(got, tc.err) {
			t.Errorf("%v: %v with errno %v, want %v", tc.err, got, errno, tc.want)
		}
	}
}
