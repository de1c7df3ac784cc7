package strace

import "strconv"

// A printer shows one argument.
type printer struct {
	*Syscall
	b []byte // the text so far
}

func (p *printer) text(s string) { p.b = append(p.b, s...) }
func (p *printer) dec(v int64)   { p.b = strconv.AppendInt(p.b, v, 10) }
func (p *printer) hex(v uint64)  { p.b = appendHex(p.b, v) }

// int and ptr return an argument as a C int and as an address.
func (s *Syscall) int(i int) int     { return int(int32(s.Args[i])) }
func (s *Syscall) ptr(i int) uintptr { return uintptr(s.Args[i]) }

// address shows a pointer as a number.
func (p *printer) address(a uintptr) {
	if a == 0 {
		p.text("NULL")
		return
	}
	p.hex(uint64(a))
}

// descriptor shows a file descriptor, with its description if there is one.
func (p *printer) descriptor(fd int) {
	p.dec(int64(fd))
	for _, n := range p.fds {
		if n.fd == fd {
			p.text("<")
			p.text(n.text)
			p.text(">")
			return
		}
	}
}

// payloadAt shows bytes that a program sends or receives, at most as many as Decode was
// asked for.
func (p *printer) payloadAt(addr uintptr, size int, after bool) {
	if addr == 0 {
		p.text("NULL")
		return
	}
	n := min(size, p.payload)
	b, ok := p.view(addr, n, after)
	if !ok {
		p.address(addr)
		return
	}
	p.b = appendQuoted(p.b, b)
	if n < size {
		p.text("...")
	}
}

// shownText is how many bytes are shown of text that is no payload, as in strace.
const shownText = 32

// bytesAt shows memory that is no payload, such as the value of an option.
func (p *printer) bytesAt(addr uintptr, size int, after bool,
	quote func(b, s []byte) []byte) {
	limit := max(shownText, p.payload)
	b, ok := p.view(addr, min(size, limit), after)
	if !ok {
		p.address(addr)
		return
	}
	p.b = quote(p.b, b)
	if size > limit {
		p.text("...")
	}
}
