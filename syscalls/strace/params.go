package strace

import (
	"strconv"

	"golang.org/x/sys/unix"
)

// number is a C int.
func number(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.dec(int64(p.int(i))) }}
}

// size is an unsigned number.
func size(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		p.b = strconv.AppendUint(p.b, p.Args[i], 10)
	}}
}

// hexadecimal is a number that is shown in hexadecimal.
func hexadecimal(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.hex(p.Args[i]) }}
}

// fdArg is the descriptor that a call is about.
func fdArg(name string) param {
	return param{name: name, fd: true, show: func(p *printer, i int) { p.descriptor(p.int(i)) }}
}

// oneOf is one of several constants.
func oneOf(name string, n names) param {
	return param{name: name, show: func(p *printer, i int) {
		p.b = n.value(p.b, uint64(uint32(p.Args[i])))
	}}
}

// flagsOf is a set of flags.
func flagsOf(name string, n names) param {
	return param{name: name, show: func(p *printer, i int) {
		p.b = n.flags(p.b, uint64(uint32(p.Args[i])))
	}}
}

// newFD shows what a new descriptor is, after the result.
func newFD(p *printer) {
	for _, n := range p.fds {
		if int64(n.fd) == p.Value {
			p.text("<" + n.text + ">")
			return
		}
	}
}

// pointer is an address whose target is not shown.
func pointer(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.address(p.ptr(i)) }}
}

// octal is a number that is shown in octal, such as a file mode.
func octal(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.octal(uint32(p.Args[i])) }}
}

func (p *printer) octal(v uint32) {
	p.text("0")
	if v != 0 {
		p.b = strconv.AppendUint(p.b, uint64(v), 8)
	}
}

// signed is a C long.
func signed(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		v := int64(p.Args[i])
		if p.sig.compat {
			v = int64(int32(v))
		}
		p.dec(v)
	}}
}

// fdSecond is a descriptor that the call is not mainly about.
func fdSecond(name string) param {
	return param{name: name, show: func(p *printer, i int) { p.descriptor(p.int(i)) }}
}

// dirFD is a descriptor of a directory, or AT_FDCWD.
func dirFD(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		if p.int(i) == unix.AT_FDCWD {
			p.text("AT_FDCWD")
			return
		}
		p.descriptor(p.int(i))
	}}
}
