package syscalls

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"github.com/boxer-sandbox/boxer/syscalls/netif"
	"golang.org/x/sys/unix"
)

// interfaceRequests are the conditions for requests of ioctl(2) about network interfaces
// (netdevice(7), linux/sockios.h). They also match a few other requests.
var interfaceRequests = [][]Condition{
	{{Arg: 1, Mask: 0xfffffff0, Equal: 0x8910}},
	{{Arg: 1, Mask: 0xffffffe0, Equal: 0x8920}},
	{{Arg: 1, Mask: 0xfffffff0, Equal: 0x8940}},
}

// ioctl answers ioctl(2) with such a request, on a socket of any type.
func (n *Node) ioctl(c Call) reply {
	request := c.Uint(1)
	if uint32(request) != unix.SIOCGIFCONF && !netif.IsIfreq(uint32(request)) {
		return passthrough
	}
	fd, err := c.CopyFD(c.Int(0))
	if err != nil {
		return fail(err)
	}
	defer linux.Close(fd)
	if _, _, err := kind(fd); err != nil || !networkNamespace.has(c.TID()) {
		return passthrough // not a socket: the kernel reports that
	}
	if uint32(request) == unix.SIOCGIFCONF {
		return fail(n.interfaceList(c, c.Ptr(2)))
	}
	var b [abi.SizeofIfreq]byte
	size := layoutOf(c).SizeofIfreq
	if err := c.ReadMemory(c.Ptr(2), b[:size]); err != nil {
		return fail(err)
	}
	if err := n.host().Ifreq(uint32(request), &b); err != nil {
		if errors.Is(err, unix.ENODEV) && !n.OwnMounts && netif.DescribesLink(uint32(request)) {
			return passthrough
		}
		return fail(err)
	}
	return fail(c.WriteMemory(c.Ptr(2), b[:size]))
}

// interfaceList answers SIOCGIFCONF. It stores the interfaces that have IPv4 addresses,
// as many as fit, or only their size if the buffer is NULL.
func (n *Node) interfaceList(c Call, at uintptr) error {
	lay := layoutOf(c)
	var struc [16]byte
	conf := struc[:lay.SizeofIfconf]
	if err := c.ReadMemory(at, conf); err != nil {
		return err
	}
	room := int(int32(binary.NativeEndian.Uint32(conf)))
	buf := uintptr(lay.WordAt(conf, lay.IfconfBuf))
	if buf == 0 {
		room = math.MaxInt
	}
	b := n.host().Ifconf(lay, room)
	if buf != 0 {
		if err := c.WriteMemory(buf, b); err != nil {
			return err
		}
	}
	binary.NativeEndian.PutUint32(conf, uint32(len(b)))
	return c.WriteMemory(at, conf[:4])
}
