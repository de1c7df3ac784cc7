package strace

import (
	"encoding/binary"
	"strconv"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
)

// Bounds of what is stored and shown of messages: buffers, bytes of control messages, and
// messages of one call.
const (
	shownIovecs   = 32
	shownControl  = 512
	shownMessages = 16
)

// needMessage stores a struct msghdr and what it points to. sent says whether the program
// sends the message: then buffers and control messages are stored, too.
func needMessage(f fetcher, at uintptr, sent bool) {
	l := f.layout()
	b, ok := f.fetch(at, l.SizeofMsghdr)
	if !ok {
		return
	}
	m := abi.ParseMsghdr(l, at, b)
	f.fetch(m.Name, min(int(m.Namelen), abi.SizeofSockaddrStorage))
	iov, ok := f.fetch(m.Iov, int(min(m.Iovlen, shownIovecs))*l.SizeofIovec)
	if !sent {
		return
	}
	f.fetch(m.Control, int(min(m.Controllen, shownControl)))
	room := f.payload
	for ; ok && room > 0 && len(iov) > 0; iov = iov[l.SizeofIovec:] {
		n := int(min(l.WordAt(iov, l.Word), uint64(room)))
		f.fetch(uintptr(l.WordAt(iov, 0)), n)
		room -= n
	}
}

// message shows a struct msghdr. moved is how many bytes the call has transferred, or -1
// for the size of the buffers.
func (p *printer) message(at uintptr, received bool, moved int) {
	l := p.layout()
	before, ok := p.view(at, l.SizeofMsghdr, false)
	if !ok {
		p.address(at)
		return
	}
	after, _ := p.view(at, l.SizeofMsghdr, received)
	was, m := abi.ParseMsghdr(l, at, before), abi.ParseMsghdr(l, at, after)
	p.text("{msg_name=")
	p.sockaddrAt(m.Name, min(int(was.Namelen), int(m.Namelen)), received)
	p.text(", msg_namelen=")
	p.dec(int64(int32(was.Namelen)))
	if was.Namelen != m.Namelen {
		p.text(" => ")
		p.dec(int64(int32(m.Namelen)))
	}
	p.text(", msg_iov=")
	p.iovecs(m, received, moved)
	p.text(", msg_iovlen=")
	p.b = strconv.AppendUint(p.b, m.Iovlen, 10)
	if m.Control != 0 && m.Controllen > 0 {
		p.text(", msg_control=")
		p.control(m, received)
	}
	p.text(", msg_controllen=")
	p.b = strconv.AppendUint(p.b, m.Controllen, 10)
	p.text(", msg_flags=")
	p.b = messageFlags.flags(p.b, uint64(binary.NativeEndian.Uint32(after[l.MsgFlags:])))
	p.text("}")
}

// iovecs shows an array of struct iovec.
func (p *printer) iovecs(m abi.Msghdr, received bool, moved int) {
	l := p.layout()
	b, ok := p.view(m.Iov, int(min(m.Iovlen, shownIovecs))*l.SizeofIovec, false)
	if !ok {
		p.address(m.Iov)
		return
	}
	p.text("[")
	shown := p.payload
	for i := 0; len(b) > 0; i, b = i+1, b[l.SizeofIovec:] {
		if i > 0 {
			p.text(", ")
		}
		base, size := uintptr(l.WordAt(b, 0)), int(min(l.WordAt(b, l.Word), maxPiece<<20))
		has := size
		if moved >= 0 {
			has = min(has, moved)
			moved -= has
		}
		p.text("{iov_base=")
		p.payloadAt(base, has, received)
		p.text(", iov_len=")
		p.dec(int64(size))
		p.text("}")
		shown -= has
	}
	if m.Iovlen > shownIovecs {
		p.text(", ...")
	}
	p.text("]")
}

// messageIn is the message of sendmsg(2).
func messageIn(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) { needMessage(f, f.ptr(i), true) },
		show: func(p *printer, i int) { p.message(p.ptr(i), false, -1) },
	}
}

// messageOut is the message of recvmsg(2).
func messageOut(name string) param {
	return param{name: name, out: true,
		need: func(f fetcher, i int) { needMessage(f, f.ptr(i), false) },
		show: func(p *printer, i int) {
			if !p.ok() {
				p.address(p.ptr(i))
				return
			}
			p.message(p.ptr(i), true, int(p.Value))
		},
	}
}

// messages is the array of sendmmsg(2) or recvmmsg(2). Its length is the next argument.
func messages(name string, received bool) param {
	return param{name: name, out: received,
		need: func(f fetcher, i int) {
			l := f.layout()
			for k := range min(int(uint32(f.Args[i+1])), shownMessages) {
				at := f.ptr(i) + uintptr(k*l.SizeofMmsghdr)
				if _, ok := f.fetch(at, l.SizeofMmsghdr); !ok {
					return
				}
				needMessage(f, at, !received)
			}
		},
		show: func(p *printer, i int) { p.messages(p.ptr(i), int(uint32(p.Args[i+1])), received) },
	}
}

// messages shows an array of struct mmsghdr.
func (p *printer) messages(at uintptr, count int, received bool) {
	done := 0
	if p.ok() {
		done = int(p.Value)
	}
	if received {
		count = done
	}
	l := p.layout()
	if _, ok := p.view(at, l.SizeofMmsghdr, false); !ok || received && done == 0 {
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
		h := at + uintptr(k*l.SizeofMmsghdr)
		moved := -1
		b, ok := p.view(h, l.SizeofMmsghdr, true)
		if ok && received {
			moved = int(binary.NativeEndian.Uint32(b[l.SizeofMsghdr:]))
		}
		p.text("{msg_hdr=")
		p.message(h, received, moved)
		if ok && k < done {
			p.text(", msg_len=")
			p.dec(int64(binary.NativeEndian.Uint32(b[l.SizeofMsghdr:])))
		}
		p.text("}")
	}
	p.text("]")
}
