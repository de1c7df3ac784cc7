package strace

import "strconv"

// A Signature describes a call's parameters, so that Decode can show its arguments.
type Signature struct {
	Nr     uintptr // the number of the native call with the same meaning
	compat bool    // the call is of the 32-bit ABI
	time64 bool    // of the 32-bit ABI: struct timespec is the native one
	name   string
	params []param
	result func(p *printer) // appends what follows the result; nil: nothing does
}

// A param is one parameter.
type param struct {
	name string
	fd   bool // the argument is a descriptor
	out  bool // the call writes to what the argument points to
	// need stores the memory that show reads; nil: show reads none.
	need func(fetcher, int)
	// capture says what a log stores in place of need, and of what the call writes.
	capture CaptureKind
	// show appends argument i to the printer's text.
	show func(p *printer, i int)
}

// A Decoded is a call as a trace shows it.
type Decoded struct {
	Name   string
	Args   []string
	FD     int    // the first argument that is a descriptor; -1: none is
	Result string // what follows the result, such as "<TCP>" for a new descriptor
	ABI    string // "i386" or "arm" for a call of the 32-bit ABI, else empty
}

// Decode returns the call in strace's notation. It shows at most payload bytes of what
// the call sends or receives, and no more than Begin was told to store. It does not
// block.
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
		// as in strace, where an unfinished call ends here
		if a.out && s.Outcome == Waits {
			break
		}
		p.b = p.b[:0]
		a.show(&p, i)
		if len(p.b) == 0 { // such as the mode of open(2) without O_CREAT
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
