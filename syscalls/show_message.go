package syscalls

import (
	"encoding/binary"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limits of what is taken down of a message.
const (
	shownIovecs   = 32
	shownControl  = 512
	shownMessages = 16
)

// needMessage has a struct msghdr taken down, with what it points to. payload
// says whether the buffers are the program's: to be sent.
func needMessage(c *tracedCall, at uintptr, payload bool) {
	b, ok := c.fetch(at, nativeLayout.msghdr)
	if !ok {
		return
	}
	m := parseMsghdr(&nativeLayout, at, b)
	c.fetch(m.name, min(int(m.nameLen), sizeofStorage))
	iov, ok := c.fetch(m.iov, int(min(m.iovLen, shownIovecs))*nativeLayout.iovec)
	if !payload {
		return
	}
	c.fetch(m.control, int(min(m.controlLen, shownControl)))
	room := c.bytes
	for ; ok && room > 0 && len(iov) > 0; iov = iov[nativeLayout.iovec:] {
		n := int(min(binary.NativeEndian.Uint64(iov[8:]), uint64(room)))
		c.fetch(uintptr(binary.NativeEndian.Uint64(iov)), n)
		room -= n
	}
}

// message shows a struct msghdr. moved is how many bytes the call has moved, or
// -1 if all that the buffers hold counts.
func (p *printer) message(at uintptr, received bool, moved int) {
	before, ok := p.view(at, nativeLayout.msghdr, false)
	if !ok {
		p.address(at)
		return
	}
	after, _ := p.view(at, nativeLayout.msghdr, received)
	was, m := parseMsghdr(&nativeLayout, at, before), parseMsghdr(&nativeLayout, at, after)
	p.text("{msg_name=")
	p.sockaddrAt(m.name, min(int(was.nameLen), int(m.nameLen)), received)
	p.text(", msg_namelen=")
	p.dec(int64(int32(was.nameLen)))
	if was.nameLen != m.nameLen {
		p.text(" => ")
		p.dec(int64(int32(m.nameLen)))
	}
	p.text(", msg_iov=")
	p.iovecs(m, received, moved)
	p.text(", msg_iovlen=")
	p.b = strconv.AppendUint(p.b, m.iovLen, 10)
	if m.control != 0 && m.controlLen > 0 {
		p.text(", msg_control=")
		p.control(m, received)
	}
	p.text(", msg_controllen=")
	p.b = strconv.AppendUint(p.b, m.controlLen, 10)
	p.text(", msg_flags=")
	p.b = messageFlags.flags(p.b, uint64(binary.NativeEndian.Uint32(after[48:])))
	p.text("}")
}

func (p *printer) iovecs(m msghdr, received bool, moved int) {
	b, ok := p.view(m.iov, int(min(m.iovLen, shownIovecs))*nativeLayout.iovec, false)
	if !ok {
		p.address(m.iov)
		return
	}
	p.text("[")
	shown := p.bytes
	for i := 0; len(b) > 0; i, b = i+1, b[nativeLayout.iovec:] {
		if i > 0 {
			p.text(", ")
		}
		base, size := uintptr(binary.NativeEndian.Uint64(b)), int(min(binary.NativeEndian.Uint64(b[8:]), maxPiece<<20))
		has := size
		if moved >= 0 {
			has = min(has, moved)
			moved -= has
		}
		p.text("{iov_base=")
		p.payload(base, has, received)
		p.text(", iov_len=")
		p.dec(int64(size))
		p.text("}")
		shown -= has
	}
	if m.iovLen > shownIovecs {
		p.text(", ...")
	}
	p.text("]")
}

// control shows control messages: cmsg(3).
func (p *printer) control(m msghdr, received bool) {
	const header = 16
	b, ok := p.view(m.control, int(min(m.controlLen, shownControl)), received)
	if !ok || len(b) < header {
		p.address(m.control)
		return
	}
	p.text("[")
	for first := true; len(b) >= header; first = false {
		if !first {
			p.text(", ")
		}
		size := binary.NativeEndian.Uint64(b)
		level, typ := binary.NativeEndian.Uint32(b[8:]), binary.NativeEndian.Uint32(b[12:])
		p.text("{cmsg_len=")
		p.b = strconv.AppendUint(p.b, size, 10)
		p.text(", cmsg_level=")
		p.b = levels.value(p.b, uint64(level))
		p.text(", cmsg_type=")
		if level == unix.SOL_SOCKET {
			p.b = socketMessages.value(p.b, uint64(typ))
		} else {
			p.b = optionsOf(level).value(p.b, uint64(typ))
		}
		if size > header {
			p.text(", cmsg_data=")
			p.controlData(level, typ, b[header:min(int(min(size, shownControl)), len(b))])
		}
		p.text("}")
		if size < header || size > uint64(len(b)) {
			break
		}
		b = b[min((int(size)+7)&^7, len(b)):]
	}
	p.text("]")
}

func (p *printer) controlData(level, typ uint32, b []byte) {
	switch {
	case level == unix.SOL_SOCKET && typ == unix.SCM_RIGHTS:
		p.text("[")
		for i := 0; len(b) >= 4; i, b = i+1, b[4:] {
			if i > 0 {
				p.text(", ")
			}
			p.descriptor(int(int32(binary.NativeEndian.Uint32(b))))
		}
		p.text("]")
	case level == unix.SOL_SOCKET && typ == unix.SCM_CREDENTIALS && len(b) >= 12:
		p.ucred(b)
	case level == unix.SOL_IP && typ == unix.IP_PKTINFO && len(b) >= 12:
		p.text("{ipi_ifindex=")
		p.ifindex(binary.NativeEndian.Uint32(b))
		p.text(`, ipi_spec_dst=inet_addr("`)
		p.b = netip.AddrFrom4([4]byte(b[4:8])).AppendTo(p.b)
		p.text(`"), ipi_addr=inet_addr("`)
		p.b = netip.AddrFrom4([4]byte(b[8:12])).AppendTo(p.b)
		p.text(`")}`)
	case level == unix.SOL_IP && typ == unix.IP_TTL && len(b) >= 4:
		p.text("[" + strconv.Itoa(int(int32(binary.NativeEndian.Uint32(b)))) + "]")
	case level == unix.SOL_IP && typ == unix.IP_TOS && len(b) >= 1:
		p.text("[" + strconv.Itoa(int(b[0])) + "]")
	default:
		p.b = appendQuotedHex(p.b, b)
	}
}

// ucred shows a struct ucred: unix(7).
func (p *printer) ucred(b []byte) {
	for i, name := range [...]string{"{pid=", ", uid=", ", gid="} {
		p.text(name)
		v := binary.NativeEndian.Uint32(b[4*i:])
		if i == 0 {
			p.dec(int64(int32(v)))
		} else if v == ^uint32(0) {
			p.text("-1")
		} else {
			p.dec(int64(v))
		}
	}
	p.text("}")
}

func messageIn(name string) param {
	return param{name: name,
		need: func(c *tracedCall, i int) { needMessage(c, c.Ptr(i), true) },
		show: func(p *printer, i int) { p.message(p.ptr(i), false, -1) },
	}
}

func messageOut(name string) param {
	return param{name: name, out: true,
		need: func(c *tracedCall, i int) { needMessage(c, c.Ptr(i), false) },
		show: func(p *printer, i int) {
			if !p.ok() {
				p.address(p.ptr(i))
				return
			}
			p.message(p.ptr(i), true, int(p.Value))
		},
	}
}

// messages is the array of sendmmsg(2) or recvmmsg(2); its length follows it.
func messages(name string, received bool) param {
	return param{name: name, out: received,
		need: func(c *tracedCall, i int) {
			for k := range min(int(uint32(c.Args[i+1])), shownMessages) {
				at := c.Ptr(i) + uintptr(k*nativeLayout.mmsghdr)
				if _, ok := c.fetch(at, nativeLayout.mmsghdr); !ok {
					return
				}
				needMessage(c, at, !received)
			}
		},
		show: func(p *printer, i int) { p.messages(p.ptr(i), int(uint32(p.Args[i+1])), received) },
	}
}

func (p *printer) messages(at uintptr, count int, received bool) {
	done := 0
	if p.ok() {
		done = int(p.Value)
	}
	if received {
		count = done
	}
	if _, ok := p.view(at, nativeLayout.mmsghdr, false); !ok || received && done == 0 {
		p.address(at)
		return
	}
	p.text("[")
	for k := range count {
		if k > 0 {
			p.text(", ")
		}
		if k == shownMessages {
			p.text("...")
			break
		}
		h := at + uintptr(k*nativeLayout.mmsghdr)
		moved := -1
		b, ok := p.view(h, nativeLayout.mmsghdr, true)
		if ok && received {
			moved = int(binary.NativeEndian.Uint32(b[nativeLayout.msghdr:]))
		}
		p.text("{msg_hdr=")
		p.message(h, received, moved)
		if ok && k < done {
			p.text(", msg_len=")
			p.dec(int64(binary.NativeEndian.Uint32(b[nativeLayout.msghdr:])))
		}
		p.text("}")
	}
	p.text("]")
}
