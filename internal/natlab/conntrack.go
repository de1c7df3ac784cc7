package natlab

import (
	"encoding/binary"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Fields of a request to delete connections: linux/netfilter/nfnetlink.h and
// nfnetlink_conntrack.h.
const (
	subsysCtnetlink = 1
	ctDelete        = 2
)

// flushConntrack deletes every tracked connection of the calling thread's network
// namespace, as conntrack(8) --flush does. That command is not installed everywhere.
// flushConntrack sends one netlink message (netlink(7)) and reads its acknowledgement.
func flushConntrack() error {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC,
		unix.NETLINK_NETFILTER)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)

	// struct nfgenmsg: any family, version 0, no resource. Without attributes, the
	// request applies to all connections.
	const bodyLen = 4
	request := make([]byte, unix.NLMSG_HDRLEN+bodyLen)
	binary.NativeEndian.PutUint32(request[0:], uint32(len(request)))
	binary.NativeEndian.PutUint16(request[4:], subsysCtnetlink<<8|ctDelete)
	binary.NativeEndian.PutUint16(request[6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
	if err := unix.Sendto(fd, request, 0,
		&unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}

	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil {
		return os.NewSyscallError("recvfrom", err)
	}
	if n < unix.NLMSG_HDRLEN+4 || binary.NativeEndian.Uint16(answer[4:]) != unix.NLMSG_ERROR {
		return fmt.Errorf("flush connections: the kernel's answer of %d bytes is not an acknowledgement", n)
	}
	if errno := -int32(binary.NativeEndian.Uint32(answer[unix.NLMSG_HDRLEN:])); errno != 0 {
		return fmt.Errorf("flush connections: %w", unix.Errno(errno))
	}
	return nil
}
