package syscalls

import (
	"fmt"
	"net/netip"
	"os"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// describeFD stores what the program's descriptor fd is. copy is a copy of it.
func (c *tracedCall) describeFD(fd, copy int) {
	c.Describe(fd, c.node.descriptorText(copy))
}

// describeArg is describeFD for a descriptor that the handler may not have copied.
func (c *tracedCall) describeArg(fd int) {
	if c.IsDescribed(fd) {
		return
	}
	if got, err := c.Call.CopyFD(fd); err == nil {
		c.describeFD(fd, got)
		linux.Close(got)
	}
}

// descriptorText describes a descriptor as strace -yy does. For a socket it returns the
// protocol and the addresses as the program sees them.
func (n *Node) descriptorText(fd int) string {
	s := &progSocket{fd: fd}
	domain, typ, err := s.kind()
	if err != nil {
		text, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		if err != nil {
			return "?"
		}
		return text
	}
	proto := map[int]string{unix.SOCK_STREAM: "TCP", unix.SOCK_DGRAM: "UDP"}[typ]
	switch {
	case domain == unix.AF_UNIX:
		return map[int]string{unix.SOCK_STREAM: "UNIX-STREAM",
			unix.SOCK_DGRAM: "UNIX-DGRAM", unix.SOCK_SEQPACKET: "UNIX-SEQPACKET"}[typ]
	case domain == unix.AF_NETLINK:
		return "NETLINK"
	case !isInet(domain) || proto == "":
		text, _ := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		return text
	case domain == unix.AF_INET6:
		proto += "v6"
	}
	ends, ok := n.socketEnds(s)
	switch {
	case !ok:
		return proto
	case ends.Remote.IsValid():
		return proto + ":[" + ends.Local.String() + "->" + ends.Remote.String() + "]"
	case ends.Local.IsValid():
		return proto + ":[" + ends.Local.String() + "]"
	}
	return proto
}

// socketEnds returns a socket's addresses as the program sees them.
func (n *Node) socketEnds(s *progSocket) (e Ends, ok bool) {
	local, ok, err := s.localName()
	if err != nil || !ok {
		return e, false
	}
	of := n.protocolOf(s)
	peer, connected, err := s.peerName()
	if connected = connected && err == nil; connected {
		if p, ok := of.remote(local, peer); ok {
			e.Remote = p.Addr
		}
	}
	if !connected {
		peer = abi.Sockaddr{}
	}
	e.Local = of.local(local, peer).Addr
	return e, true
}

// endsOf returns the ends of an accepted connection. Its kernel addresses are local and
// kernel, and the program sees its peer as peer.
func (n *Node) endsOf(local, kernel, peer abi.Sockaddr) Ends {
	own := n.local(local, kernel).Addr
	_, near := n.sameHost.find(unmapped(kernel.Addr), unmapped(local.Addr).Addr())
	return Ends{
		Local:    netip.AddrPortFrom(own.Addr().Unmap(), own.Port()),
		Remote:   netip.AddrPortFrom(peer.Addr.Addr().Unmap(), peer.Addr.Port()),
		SameHost: near,
	}
}
