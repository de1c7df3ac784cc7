package syscalls

import (
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/sockdiag"
	"golang.org/x/sys/unix"
)

// socketView shows the kernel's sockets as the node's programs know them: with the
// addresses that getsockname(2) and getpeername(2) tell, and without the supervisor's
// own. Sockets of the machine's other programs stay as they are.
func (n *Node) socketView() sockdiag.View {
	own := ownSockets()
	return func(s sockdiag.Socket) (sockdiag.Socket, bool) {
		if own[s.Inode] || n.isSupervisors(s.Local.Addr()) {
			return s, false
		}
		if r, ok := n.Aliases.role(s.Local.Addr()); ok && r == wildcard6 {
			s.Only6 = true
		}
		local := abi.Sockaddr{Addr: s.Local, V6: s.Family == unix.AF_INET6}
		if s.Remote.Port() == 0 {
			s.Local = n.named(s.Protocol).local(local, abi.Sockaddr{}).Addr
			return s, true
		}
		remote := abi.Sockaddr{Addr: s.Remote, V6: local.V6}
		if shown, ok := n.named(s.Protocol).remote(local, remote); ok {
			s.Remote = shown.Addr
		}
		s.Local = n.named(s.Protocol).local(local, remote).Addr
		return s, true
	}
}

// named returns what knows the names of a protocol's sockets.
func (n *Node) named(of uint8) protocol {
	if of == unix.IPPROTO_UDP {
		return n.udp
	}
	return n
}

// isSupervisors reports whether only sockets of the supervisor are at an address. Its
// connections that have ended have no inode any more (TIME_WAIT).
func (n *Node) isSupervisors(a netip.Addr) bool {
	if _, ok := roleOfGate(a); ok {
		return true
	}
	r, ok := n.Aliases.role(a)
	return ok && (r&^v6 == relayEnd || r&^v6 == datagramEnd)
}

// ownSockets returns the inodes of this process's sockets.
func ownSockets() map[uint32]bool {
	own := make(map[uint32]bool)
	const dir = "/proc/self/fd"
	descriptors, err := os.ReadDir(dir)
	if err != nil {
		return own
	}
	for _, d := range descriptors {
		to, err := os.Readlink(dir + "/" + d.Name())
		number, isSocket := strings.CutPrefix(to, "socket:[")
		inode, err2 := strconv.ParseUint(strings.TrimSuffix(number, "]"), 10, 32)
		if err == nil && isSocket && err2 == nil {
			own[uint32(inode)] = true
		}
	}
	return own
}

// socketList returns a file of sockdiag.Lists as programs know it.
func (n *Node) socketList(name string) (content string, err error) {
	b, err := os.ReadFile("/proc/self/net/" + name)
	if err != nil {
		return "", err
	}
	return sockdiag.List(string(b), sockdiag.Lists[name], n.socketView()), nil
}
