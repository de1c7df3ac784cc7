package strace

import "golang.org/x/sys/unix"

// openFlag is the access mode and the flags of open(2).
func openFlag(name string) param {
	return param{name: name, show: func(p *printer, i int) {
		v := uint64(uint32(p.Args[i]))
		p.b = accessModes.value(p.b, v&unix.O_ACCMODE)
		if v &^= unix.O_ACCMODE; v != 0 {
			p.text("|")
			p.b = openFlags.flags(p.b, v)
		}
	}}
}

// createMode is the mode of open(2). It is shown only if the flags, which are argument
// flags, ask for a new file.
func createMode(name string, flags int) param {
	return param{name: name, show: func(p *printer, i int) {
		if p.Args[flags]&unix.O_CREAT != 0 ||
			p.Args[flags]&unix.O_TMPFILE == unix.O_TMPFILE {
			p.octal(uint32(p.Args[i]))
		}
	}}
}

// cloneStack and cloneFlag show the arguments of clone(2) in strace's order.
func cloneStack(p *printer, _ int) {
	p.text("child_stack=")
	p.address(p.ptr(1))
}

func cloneFlag(p *printer, _ int) {
	v := p.Args[0]
	p.text("flags=")
	if rest := v &^ 0xff; rest != 0 {
		p.b = cloneFlags.flags(p.b, rest)
		if v&0xff != 0 {
			p.text("|")
		}
	}
	if v&0xff != 0 || v == 0 {
		p.b = signals.value(p.b, v&0xff)
	}
}

// fcntlArg shows the last argument of fcntl(2), which depends on the command. Many
// commands have none.
func fcntlArg(p *printer, i int) {
	switch int(p.Args[1]) {
	case unix.F_GETFD, unix.F_GETFL, unix.F_GETOWN, unix.F_GETSIG, unix.F_GETLEASE,
		unix.F_GETPIPE_SZ, unix.F_GET_SEALS:
	case unix.F_SETFD:
		if p.Args[i] == unix.FD_CLOEXEC {
			p.text("FD_CLOEXEC")
			return
		}
		p.hex(p.Args[i])
	case unix.F_SETFL:
		v := uint64(uint32(p.Args[i]))
		p.b = accessModes.value(p.b, v&unix.O_ACCMODE)
		if v &^= unix.O_ACCMODE; v != 0 {
			p.text("|")
			p.b = openFlags.flags(p.b, v)
		}
	case unix.F_DUPFD, unix.F_DUPFD_CLOEXEC, unix.F_SETOWN, unix.F_SETSIG,
		unix.F_SETPIPE_SZ:
		p.dec(int64(p.int(i)))
	default:
		p.hex(p.Args[i])
	}
}
