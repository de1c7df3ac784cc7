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
	l := layoutOf(c)
	b, ok := c.fetch(at, l.msghdr)
	if !ok {
		return
	}
	m := parseMsghdr(l, at, b)
	c.fetch(m.name, min(int(m.nameLen), sizeofStorage))
	iov, ok := c.fetch(m.iov, int(min(m.iovLen, shownIovecs))*l.iovec)
	if !payload {
		return
	}
	c.fetch(m.control, int(min(m.controlLen, shownControl)))
	room := c.bytes
	for ; ok && room > 0 && len(iov) > 0; iov = iov[l.iovec:] {
		n := int(min(l.wordAt(iov, l.word), uint64(room)))
		c.fetch(uintptr(l.wordAt(iov, 0)), n)
		room -= n
	}
}

// message shows a struct msghdr. moved is how many bytes the call has moved, or
// -1 if all that the buffers hold counts.
func (p *printer) message(at uintptr, received bool, moved int) {
	l := p.layout()
	before, ok := p.view(at, l.msghdr, false)
	if !ok {
		p.address(at)
		return
	}
	after, _ := p.view(at, l.msghdr, received)
	was, m := parseMsghdr(l, at, before), parseMsghdr(l, at, after)
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
	p.b = messageFlags.flags(p.b, uint64(binary.NativeEndian.Uint32(after[l.msgFlags:])))
	p.text("}")
}

func (p *printer) iovecs(m msghdr, received bool, moved int) {
	l := p.layout()
	b, ok := p.view(m.iov, int(min(m.iovLen, shownIovecs))*l.iovec, false)
	if !ok {
		p.address(m.iov)
		return
	}
	p.text("[")
	shown := p.bytes
	for i := 0; len(b) > 0; i, b = i+1, b[l.iovec:] {
		if i > 0 {
			p.text(", ")
		}
		base, size := uintptr(l.wordAt(b, 0)), int(min(l.wordAt(b, l.word), maxPiece<<20))
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
	l := p.layout()
	header := l.word + 8 // cmsg_len is a size_t
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
		size := l.wordAt(b, 0)
		level, typ := binary.NativeEndian.Uint32(b[l.word:]),
			binary.NativeEndian.Uint32(b[l.word+4:])
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
		if size > uint64(header) {
			p.text(", cmsg_data=")
			p.controlData(level, typ, b[header:min(int(min(size, shownControl)), len(b))])
		}
		p.text("}")
		if size < uint64(header) || size > uint64(len(b)) {
			break
		}
		b = b[min((int(size)+l.word-1)&^(l.word-1), len(b)):]
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
			l := layoutOf(c)
			for k := range min(int(uint32(c.Args[i+1])), shownMessages) {
				at := c.Ptr(i) + uintptr(k*l.mmsghdr)
				if _, ok := c.fetch(at, l.mmsghdr); !ok {
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
	l := p.layout()
	if _, ok := p.view(at, l.mmsghdr, false); !ok || received && done == 0 {
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
		h := at + uintptr(k*l.mmsghdr)
		moved := -1
		b, ok := p.view(h, l.mmsghdr, true)
		if ok && received {
			moved = int(binary.NativeEndian.Uint32(b[l.msghdr:]))
		}
		p.text("{msg_hdr=")
		p.message(h, received, moved)
		if ok && k < done {
			p.text(", msg_len=")
			p.dec(int64(binary.NativeEndian.Uint32(b[l.msghdr:])))
		}
		p.text("}")
	}
	p.text("]")
}
