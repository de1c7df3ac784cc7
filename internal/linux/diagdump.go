package linux

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// maxDiagAnswer bounds what AskDiag returns, in bytes: a message of a socket has some
// hundred.
const maxDiagAnswer = 256 << 20

// AskDiag sends one request to NETLINK_SOCK_DIAG (sock_diag(7)) and returns the messages
// of the answer, without NLMSG_DONE at the end of a dump. An NLMSG_ERROR is returned as
// its errno; 0 is no error.
func AskDiag(request []byte) (messages []byte, err error) {
	if len(request) < unix.NLMSG_HDRLEN {
		return nil, unix.EINVAL
	}
	const typ = unix.SOCK_RAW | unix.SOCK_CLOEXEC | unix.SOCK_NONBLOCK
	fd, err := Socket(unix.AF_NETLINK, typ, unix.NETLINK_SOCK_DIAG)
	if err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	defer Close(fd)
	// The kernel has answered, or has begun a dump, when the write returns.
	if _, err := untilDone(Write, fd, request); err != nil {
		return nil, fmt.Errorf("sock_diag: %w", err)
	}
	buf := make([]byte, 4*dumpSize)
	for len(messages) < maxDiagAnswer {
		n, err := untilDone(Read, fd, buf)
		if errors.Is(err, unix.EAGAIN) { // that was all of an answer that is no dump
			return messages, nil
		}
		if err != nil {
			return nil, fmt.Errorf("sock_diag: %w", err)
		}
		for b := buf[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				return nil, fmt.Errorf("sock_diag: message of %d bytes: %w", size, unix.EPROTO)
			}
			if errno, is := netlinkErrno(b[:size]); is {
				if errno != 0 {
					return nil, errno
				}
				return messages, nil
			}
			if binary.NativeEndian.Uint16(b[4:]) == unix.NLMSG_DONE {
				return messages, nil
			}
			size = min(len(b), (size+unix.NLMSG_ALIGNTO-1)&^(unix.NLMSG_ALIGNTO-1))
			messages = append(messages, b[:size]...)
			b = b[size:]
		}
	}
	return nil, fmt.Errorf("sock_diag: more than %d MiB: %w", maxDiagAnswer>>20,
		unix.EMSGSIZE)
}
