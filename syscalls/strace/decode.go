package strace

import "strconv"

// A Signature says what a call's arguments are, so that a trace can show them.
type Signature struct {
	Nr     uintptr // of the native call that it means
	compat bool    // it is of the 32-bit ABI
	time64 bool    // of those: its struct timespec is the native one
	name   string
	params []param
	result func(p *printer) // what follows the result; nil: nothing
}

// A param is one argument: how it is shown, and what memory that takes.
type param struct {
	name string
	fd   bool // it is a descriptor
	out  bool // the call sets it
	// has the memory taken down before the call; nil: none is needed
	need func(fetcher, int)
	show func(p *printer, i int) // appends it to the printer's text
}

// A Decoded is a call as a trace shows it.
type Decoded struct {
	Name   string
	Args   []string
	FD     int    // the descriptor that it is about, -1 if there is none
	Result string // what follows the result, such as what a new descriptor is
	ABI    string // of a call of the 32-bit ABI: "i386" or "arm"
}

// Decode shows the call, with so many bytes of payload, at most those that were
// kept. It does not wait for anything.
func (s *Syscall) Decode(payload int) Decoded {
	sig := s.sig
	if sig == nil {
		return Decoded{Name: "syscall_" + strconv.FormatUint(uint64(s.Nr), 10), FD: -1}
	}
	defer func(kept int) { s.payload = kept }(s.payload)
	s.payload = min(s.payload, payload)
	d := Decoded{Name: sig.name, FD: -1, Args: make([]string, 0, len(sig.params))}
	if sig.compat {
		d.ABI = compatABI
	}
	p := printer{Syscall: s}
	for i, a := range sig.params {
		if a.out && s.Outcome == Waits { // strace shows no more of a call that waits
			break
		}
		p.b = p.b[:0]
		a.show(&p, i)
		if len(p.b) == 0 { // such as open(2)'s mode when nothing is created
			continue
		}
		d.Args = append(d.Args, string(p.b))
		if a.fd && d.FD < 0 {
			d.FD = s.int(i)
		}
	}
	if sig.result != nil && s.ok() {
		p.b = p.b[:0]
		sig.result(&p)
		d.Result = string(p.b)
	}
	return d
}

// A printer shows one call's arguments.
type printer struct {
	*Syscall
	b []byte
}

func (p *printer) text(s string) { p.b = append(p.b, s...) }
func (p *printer) dec(v int64)   { p.b = strconv.AppendInt(p.b, v, 10) }
func (p *printer) hex(v uint64)  { p.b = appendHex(p.b, v) }

// int and ptr return an argument as a C int and as an address.
func (s *Syscall) int(i int) int     { return int(int32(s.Args[i])) }
func (s *Syscall) ptr(i int) uintptr { return uintptr(s.Args[i]) }

// address shows a pointer whose target is not known or of no interest.
func (p *printer) address(a uintptr) {
	if a == 0 {
		p.text("NULL")
		return
	}
	p.hex(uint64(a))
}

// descriptor shows a file descriptor, with what it is if that was taken down.
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

// payloadAt shows bytes that a program sends or gets: as many as are to be shown.
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

// shownText is how many bytes of text are shown that is no payload, as strace does.
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

// Arguments that are numbers.

func number(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.dec(int64(p.int(i))) }}
}

func size(name string) param {
	return param{name: name, show: func(p *printer,
		i int) {
		p.b = strconv.AppendUint(p.b, p.Args[i], 10)
	}}
}

func hexadecimal(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.hex(p.Args[i]) }}
}

func fdArg(name string) param {
	return param{name: name, fd: true, show: func(p *printer, i int) { p.descriptor(p.int(i)) }}
}

func oneOf(name string, n names) param {
	return param{name: name, show: func(p *printer,
		i int) {
		p.b = n.value(p.b, uint64(uint32(p.Args[i])))
	}}
}

func flagsOf(name string, n names) param {
	return param{name: name, show: func(p *printer,
		i int) {
		p.b = n.flags(p.b, uint64(uint32(p.Args[i])))
	}}
}

// newFD is the result of calls that make descriptors.
func newFD(p *printer) {
	for _, n := range p.fds {
		if int64(n.fd) == p.Value {
			p.text("<" + n.text + ">")
			return
		}
	}
}
