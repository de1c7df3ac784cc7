package syscalls

import "strconv"

// A signature says what a call's arguments are, so that a trace can show them.
type signature struct {
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
	need func(*tracedCall, int)
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
func (r *Record) Decode(payload int) Decoded {
	s := r.sig
	abi := ""
	if r.compat {
		abi = compatABI
	}
	defer func(kept int) { r.bytes = kept }(r.bytes)
	r.bytes = min(r.bytes, payload)
	if s == nil {
		return Decoded{Name: "syscall_" + strconv.FormatUint(uint64(r.Nr), 10), FD: -1,
			ABI: abi}
	}
	d := Decoded{Name: s.name, FD: -1, ABI: abi, Args: make([]string, 0, len(s.params))}
	p := printer{Record: r}
	for i, a := range s.params {
		if a.out && r.Outcome == Waits { // strace shows no more of a call that waits
			break
		}
		p.b = p.b[:0]
		a.show(&p, i)
		if len(p.b) == 0 { // such as open(2)'s mode when nothing is created
			continue
		}
		d.Args = append(d.Args, string(p.b))
		if a.fd && d.FD < 0 {
			d.FD = int(int32(r.Args[i]))
		}
	}
	if s.result != nil && r.ok() {
		p.b = p.b[:0]
		s.result(&p)
		d.Result = string(p.b)
	}
	return d
}

// A printer shows one call's arguments.
type printer struct {
	*Record
	b []byte
}

func (p *printer) text(s string)     { p.b = append(p.b, s...) }
func (p *printer) dec(v int64)       { p.b = strconv.AppendInt(p.b, v, 10) }
func (p *printer) hex(v uint64)      { p.b = appendHex(p.b, v) }
func (p *printer) int(i int) int     { return int(int32(p.Args[i])) }
func (p *printer) ptr(i int) uintptr { return uintptr(p.Args[i]) }

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

// payload shows bytes that a program sends or gets: as many as are to be shown.
func (p *printer) payload(addr uintptr, size int, after bool) {
	if addr == 0 {
		p.text("NULL")
		return
	}
	n := min(size, p.bytes)
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
	limit := max(shownText, p.bytes)
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
