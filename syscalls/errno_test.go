package syscalls

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestErrno(t *testing.T) {
	if got := Errno(nil); got != 0 {
		t.Errorf("no error: %v", got)
	}
	if got := Errno(errors.New("odd")); got != unix.EIO {
		t.Errorf("an error of boxer's own: %v", got)
	}
	if got := Errno(errors.Join(errors.New("connect"),
		unix.ECONNREFUSED)); got != unix.ECONNREFUSED {
		t.Errorf("a wrapped errno: %v", got)
	}
}
