package strace

// maxString bounds a string in bytes: PATH_MAX.
const maxString = 4096

// fetchString reads and stores a string that ends with NUL. It reads page by page, since
// the page after the string may not be mapped.
func (f fetcher) fetchString(addr uintptr) {
	if addr == 0 {
		return
	}
	const page = 4096
	for n := 0; n < maxString; {
		step := min(256, page-int((addr+uintptr(n))%page))
		b, ok := f.fetch(addr+uintptr(n), step)
		if !ok {
			return
		}
		for _, ch := range b {
			if ch == 0 {
				return
			}
		}
		n += step
	}
}

// stringAt shows a string in the program's memory, at most limit bytes of it; 0: all.
func (p *printer) stringAt(addr uintptr, limit int) {
	if addr == 0 {
		p.text("NULL")
		return
	}
	var s []byte
	for found := true; found; {
		found = false
		at := addr + uintptr(len(s))
		for _, k := range p.pieces {
			if !k.after && at >= k.addr && at < k.addr+uintptr(k.len) {
				b := p.buf[k.at+int(at-k.addr) : k.at+k.len]
				if t := untilNUL(b); len(t) < len(b) {
					s = append(s, t...)
				} else {
					s, found = append(s, b...), true
				}
				break
			}
		}
		if len(s) == 0 && !found {
			break
		}
	}
	if s == nil {
		if b, ok := p.view(addr, 1, false); !ok || b[0] != 0 {
			p.address(addr)
			return
		}
	}
	more := limit > 0 && len(s) > limit
	if more {
		s = s[:limit]
	}
	p.b = appendQuoted(p.b, s)
	if more {
		p.text("...")
	}
}

// path is a string that is shown whole.
func path(name string) param {
	return param{name: name, capture: CaptureString,
		need: func(f fetcher, i int) { f.fetchString(f.ptr(i)) },
		show: func(p *printer, i int) { p.stringAt(p.ptr(i), 0) },
	}
}

// shownStrings bounds how many strings of an array are shown, as in strace.
const shownStrings = 32

// stringList is an array of strings that ends with NULL, such as argv of execve(2).
func stringList(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) {
			l := f.layout()
			for k := range shownStrings {
				b, ok := f.fetch(f.ptr(i)+uintptr(l.Word*k), l.Word)
				if !ok {
					return
				}
				at := uintptr(l.WordAt(b, 0))
				if at == 0 {
					return
				}
				f.fetchString(at)
			}
		},
		show: func(p *printer, i int) {
			l := p.layout()
			if _, ok := p.view(p.ptr(i), l.Word, false); !ok {
				p.address(p.ptr(i))
				return
			}
			p.text("[")
			for k := range shownStrings + 1 {
				b, ok := p.view(p.ptr(i)+uintptr(l.Word*k), l.Word, false)
				if ok && l.WordAt(b, 0) == 0 {
					break
				}
				if k > 0 {
					p.text(", ")
				}
				if !ok {
					p.text("...")
					break
				}
				p.stringAt(uintptr(l.WordAt(b, 0)), max(shownText, p.payload))
			}
			p.text("]")
		},
	}
}

// maxCounted bounds the count of an environment's variables.
const maxCounted = 512

// counted is envp of execve(2). The environment may hold secrets, so only the number of
// its variables is shown.
func counted(name string) param {
	return param{name: name,
		need: func(f fetcher, i int) {
			const step = 32
			l := f.layout()
			for k := 0; k < maxCounted; k += step {
				b, ok := f.fetch(f.ptr(i)+uintptr(l.Word*k), l.Word*step)
				if !ok { // beyond the end of the stack, so one by one
					for j := range step {
						if b, ok := f.fetch(f.ptr(i)+uintptr(l.Word*(k+j)),
							l.Word); !ok || l.WordAt(b, 0) == 0 {
							return
						}
					}
					return
				}
				for j := range step {
					if l.WordAt(b, l.Word*j) == 0 {
						return
					}
				}
			}
		},
		show: func(p *printer, i int) {
			p.address(p.ptr(i))
			if p.ptr(i) == 0 {
				return
			}
			l, n := p.layout(), 0
			for ; n < maxCounted; n++ {
				if b, ok := p.view(p.ptr(i)+uintptr(l.Word*n), l.Word, false); !ok ||
					l.WordAt(b, 0) == 0 {
					break
				}
			}
			p.text(" /* ")
			p.dec(int64(n))
			p.text(" vars */")
		},
	}
}

// untilNUL returns the bytes before the first NUL.
func untilNUL(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}
