package syscalls

// Abilities says what a way to take a program's calls can do beyond [Call]. The way
// states them; the table, the handlers and boxer doctor ask for an ability, never for the
// way.
type Abilities struct {
	// Compat: calls of the host's 32-bit ABI are taken. Without it, programs of that ABI
	// do not start.
	Compat bool
	// Generated: calls are taken wherever their instruction is. Without it, calls from
	// code that a program makes at run time go to the kernel.
	Generated bool
	// Starting: the calls are taken that boxer-init makes to become the program. Traces
	// have to leave them out.
	Starting bool
	// Memory: conditions can look at the program's memory, where registers have an
	// address. Rows with conditions for that, Entry.Inside, are taken by those.
	Memory bool
	// CopyFD copies a descriptor of a thread of the program at any time, also when no
	// call waits. By then the number may be another thread's, and the descriptor another
	// file: the caller looks at what it gets. nil: only a call's own [Call.CopyFD] copies
	// descriptors.
	CopyFD func(tid, fd int) (int, error)
}

// Takes returns the rows whose calls can be taken with these abilities, with the
// conditions by which they are.
func (a Abilities) Takes(rows []Entry) (taken []Entry) {
	for _, e := range rows {
		if e.Compat && !a.Compat {
			continue
		}
		if a.Memory {
			// To look at paths costs no more than mounts do.
			e.Mounts = false
			if len(e.Inside) > 0 {
				e.When = e.Inside
			}
		}
		e.Inside = nil
		taken = append(taken, e)
	}
	return taken
}

// A Loss is something that programs or their traces lack.
type Loss struct {
	Name string // of what is lacking
	What string // the consequence
}

// Lacks returns what is lost with these abilities where better ones are to be had.
func (a Abilities) Lacks(better Abilities) (lost []Loss) {
	for _, l := range []struct {
		lost bool
		Loss
	}{
		{better.Compat && !a.Compat, Loss{"32-bit programs",
			"do not start: execve(2) fails with ENOEXEC"}},
		{better.Generated && !a.Generated, Loss{"calls of generated code",
			"go to the kernel when a program makes their instruction at run time"}},
		{better.Memory && !a.Memory, Loss{"paths below /proc",
			"are not looked at: /proc/self/net and /proc/PID/net have the host's interfaces"}},
		{better.CopyFD != nil && a.CopyFD == nil, Loss{"descriptors of idle programs",
			"cannot be copied: UDP sockets do not learn of closed ports (ECONNREFUSED)"}},
	} {
		if l.lost {
			lost = append(lost, l.Loss)
		}
	}
	return lost
}
