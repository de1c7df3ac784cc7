package syscalls

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/boxer-sandbox/boxer/syscalls/abi"
	"golang.org/x/sys/unix"
)

// A msghdr is a struct msghdr in a program's memory (recvmsg(2)), with one buffer.
type msghdr struct {
	s             *script
	header        []byte
	at            uintptr // of the header
	name          []byte
	data, control []byte
}

// newMsghdr returns a header with the given data and control messages. Each has room for
// at least so many bytes.
func (k *sock) newMsghdr(data []byte, room int, control []byte, controlRoom int) *msghdr {
	h := &msghdr{s: k.s}
	h.header, h.at = k.m.mem.take(abi.Native.SizeofMmsghdr, nil)
	h.fill(k, data, room, control, controlRoom)
	return h
}

// fill makes the header point to its buffers.
func (h *msghdr) fill(k *sock, data []byte, room int, control []byte, controlRoom int) {
	var p, v uintptr
	h.data, p = k.m.mem.take(max(room, len(data)), data)
	iov := binary.NativeEndian.AppendUint64(nil, uint64(p))
	_, v = k.m.mem.take(16, binary.NativeEndian.AppendUint64(iov, uint64(max(room, len(data)))))
	binary.NativeEndian.PutUint64(h.header[16:], uint64(v))
	binary.NativeEndian.PutUint64(h.header[24:], 1)
	if size := max(controlRoom, len(control)); size > 0 {
		h.control, p = k.m.mem.take(size, control)
		binary.NativeEndian.PutUint64(h.header[32:], uint64(p))
		binary.NativeEndian.PutUint64(h.header[40:], uint64(size))
	}
}

// setName gives the header an address; its room is that of a sockaddr_storage if b is
// nil.
func (h *msghdr) setName(k *sock, b []byte) {
	size := len(b)
	if b == nil {
		size = abi.SizeofSockaddrStorage
	}
	var p uintptr
	h.name, p = k.m.mem.take(size, b)
	binary.NativeEndian.PutUint64(h.header, uint64(p))
	binary.NativeEndian.PutUint32(h.header[8:], uint32(size))
}

// text prints what recvmsg(2) has stored: n bytes of data, the source, the flags and the
// control messages.
func (h *msghdr) text(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%q", h.data[:min(n, len(h.data))])
	if h.name != nil {
		size := int(binary.NativeEndian.Uint32(h.header[8:]))
		fmt.Fprintf(&b, " from %s", h.s.decode(h.name[:min(size, len(h.name))]))
	}
	if flags := binary.NativeEndian.Uint32(h.header[48:]); flags != 0 {
		fmt.Fprintf(&b, " flags %#x", flags)
	}
	size := binary.NativeEndian.Uint64(h.header[40:])
	messages, err := unix.ParseSocketControlMessage(h.control[:min(int(size), len(h.control))])
	if err != nil {
		fmt.Fprintf(&b, " control %d bytes", size)
	}
	for _, m := range messages {
		fmt.Fprintf(&b, " cmsg %d/%d", m.Header.Level, m.Header.Type)
	}
	return b.String()
}

// udp returns a UDP socket of the machine.
func (s *script) udp(m *machine) *sock { return s.open(m, unix.AF_INET, unix.SOCK_DGRAM) }

// sendto calls sendto(2), to an address unless that is empty.
func (k *sock) sendto(text, addr string, flags int) {
	k.s.t.Helper()
	k.sendtoLater(text, addr, flags)()
}

// sendtoLater starts a sendto. The returned function waits for it.
func (k *sock) sendtoLater(text, addr string, flags int) func() {
	_, p := k.m.mem.take(len(text), []byte(text))
	var to, size uintptr
	if addr != "" {
		b := encode(k.domain, k.s.parse(addr))
		_, to = k.m.mem.take(len(b), b)
		size = uintptr(len(b))
	}
	r := k.m.start(k.thread, unix.SYS_SENDTO, k.fdArg(), p, uintptr(len(text)),
		uintptr(flags), to, size)
	return func() {
		k.s.t.Helper()
		n, errno := r.wait(k.s.t)
		k.printf("sendto %.20q %s: %s", text, addr, result(n, errno))
	}
}

// recvfrom calls recvfrom(2), with room for the source.
func (k *sock) recvfrom(room, flags int) {
	k.s.t.Helper()
	k.recvfromLater(room, flags)()
}

// recvfromLater starts a recvfrom. The returned function waits for it.
func (k *sock) recvfromLater(room, flags int) func() {
	data, p := k.m.mem.take(room, nil)
	name, np := k.m.mem.take(abi.SizeofSockaddrStorage, nil)
	size, sp := k.m.mem.take(4, binary.NativeEndian.AppendUint32(nil, uint32(len(name))))
	r := k.m.start(k.thread, unix.SYS_RECVFROM, k.fdArg(), p, uintptr(room),
		uintptr(flags), np, sp)
	return func() {
		k.s.t.Helper()
		n, errno := r.wait(k.s.t)
		if errno != 0 {
			k.printf("recvfrom: %s", failed(errno))
			return
		}
		from := ""
		if n := binary.NativeEndian.Uint32(size); n > 0 {
			from = " from " + k.s.decode(name[:n])
		}
		k.printf("recvfrom = %d: %q%s", n, data[:min(int(n), room)], from)
	}
}

// sendmsg calls sendmsg(2), to an address unless that is empty.
func (k *sock) sendmsg(text, addr string, control []byte, flags int) {
	k.s.t.Helper()
	h := k.newMsghdr([]byte(text), 0, control, 0)
	if addr != "" {
		h.setName(k, encode(k.domain, k.s.parse(addr)))
	}
	n, errno := k.call(unix.SYS_SENDMSG, k.fdArg(), h.at, uintptr(flags))
	k.printf("sendmsg %.20q %s: %s", text, addr, result(n, errno))
}

// recvmsg calls recvmsg(2) with room for so many bytes of data and of control messages,
// and for the source if named.
func (k *sock) recvmsg(room, controlRoom int, named bool, flags int) {
	k.s.t.Helper()
	h := k.newMsghdr(nil, room, nil, controlRoom)
	if named {
		h.setName(k, nil)
	}
	n, errno := k.call(unix.SYS_RECVMSG, k.fdArg(), h.at, uintptr(flags))
	if errno != 0 {
		k.printf("recvmsg: %s", failed(errno))
		return
	}
	k.printf("recvmsg = %d: %s", n, h.text(int(n)))
}

// vector makes a vector of struct mmsghdr, and returns its address.
func (k *sock) vector(count int, fill func(i int, h *msghdr)) ([]*msghdr, uintptr) {
	each := abi.Native.SizeofMmsghdr
	b, at := k.m.mem.take(count*each, nil)
	var headers []*msghdr
	for i := range count {
		h := &msghdr{s: k.s, header: b[i*each : (i+1)*each], at: at + uintptr(i*each)}
		fill(i, h)
		headers = append(headers, h)
	}
	return headers, at
}

// length returns msg_len of a struct mmsghdr.
func (h *msghdr) length() int {
	return int(binary.NativeEndian.Uint32(h.header[abi.Native.SizeofMsghdr:]))
}

// sendmmsg calls sendmmsg(2) with a message for each text.
func (k *sock) sendmmsg(addr string, flags int, texts ...string) {
	k.s.t.Helper()
	headers, at := k.vector(len(texts), func(i int, h *msghdr) {
		h.fill(k, []byte(texts[i]), 0, nil, 0)
		if addr != "" {
			h.setName(k, encode(k.domain, k.s.parse(addr)))
		}
	})
	n, errno := k.call(unix.SYS_SENDMMSG, k.fdArg(), at, uintptr(len(texts)),
		uintptr(flags))
	k.printf("sendmmsg %s: %s", addr, result(n, errno))
	for i := range headers[:max(0, int(int32(n)))] {
		k.printf("  message of %d bytes", headers[i].length())
	}
}

// recvmmsg calls recvmmsg(2) for at most count messages, with a timeout unless that is
// negative, in nanoseconds.
func (k *sock) recvmmsg(count, flags int, timeout int64) {
	k.s.t.Helper()
	headers, at := k.vector(count, func(_ int, h *msghdr) {
		h.fill(k, nil, 32, nil, 0)
		h.setName(k, nil)
	})
	var tp uintptr
	if timeout >= 0 {
		b := binary.NativeEndian.AppendUint64(nil, uint64(timeout/1e9))
		_, tp = k.m.mem.take(16, binary.NativeEndian.AppendUint64(b, uint64(timeout%1e9)))
	}
	n, errno := k.call(unix.SYS_RECVMMSG, k.fdArg(), at, uintptr(count), uintptr(flags), tp)
	k.printf("recvmmsg: %s", result(n, errno))
	for _, h := range headers[:max(0, int(int32(n)))] {
		k.printf("  message of %d bytes: %s", h.length(), h.text(h.length()))
	}
}

// result prints what a call has returned.
func result(n uintptr, errno unix.Errno) string {
	if errno != 0 {
		return failed(errno)
	}
	return fmt.Sprint(n)
}

// setInt calls setsockopt(2) with an int.
func (k *sock) setInt(what string, level, opt, v int) {
	k.s.t.Helper()
	_, p := k.m.mem.take(4, binary.NativeEndian.AppendUint32(nil, uint32(v)))
	_, errno := k.call(unix.SYS_SETSOCKOPT, k.fdArg(), uintptr(level), uintptr(opt), p, 4)
	k.printf("set %s to %d: %s", what, v, failed(errno))
}

// getInt calls getsockopt(2) for an int, with room for so many bytes.
func (k *sock) getInt(what string, level, opt, room int) {
	k.s.t.Helper()
	b, p := k.m.mem.take(max(room, 8), nil)
	size, sp := k.m.mem.take(4, binary.NativeEndian.AppendUint32(nil, uint32(room)))
	_, errno := k.call(unix.SYS_GETSOCKOPT, k.fdArg(), uintptr(level), uintptr(opt), p, sp)
	if errno != 0 {
		k.printf("get %s: %s", what, failed(errno))
		return
	}
	k.printf("get %s = %d, %d bytes", what, int64(binary.NativeEndian.Uint64(b)),
		binary.NativeEndian.Uint32(size))
}
