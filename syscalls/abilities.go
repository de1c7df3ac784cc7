package syscalls

// Abilities says what an interposer can do beyond [Call]. The interposer states them. The
// table, the handlers and boxer doctor ask for an ability, never for the kind of
// interposer.
type Abilities struct {
	// Compat: the interposer takes calls of the host's 32-bit ABI. Without it, programs
	// of that ABI do not start.
	Compat bool
	// Generated: the interposer takes calls wherever their instruction is. Without it,
	// calls from code that a program generates at run time go to the kernel.
	Generated bool
	// Starting: the interposer takes the calls of boxer-init that start the program.
	// Traces have to omit them.
	Starting bool
	// Memory: conditions can read the program's memory at an argument's address. Rows
	// with such conditions use Entry.Inside.
	Memory bool
	// CopyFD copies a descriptor of a thread of the program at any time, even while no
	// call waits. By then the thread's number may belong to another thread, and the
	// descriptor to another file, so the caller checks what it gets. nil: only a call's
	// own [Call.CopyFD] copies descriptors.
	CopyFD func(tid, fd int) (int, error)
	// Names answers getsockname(2) and getpeername(2) without the supervisor. nil: all
	// these calls are taken.
	Names NameTable
	// Log has the calls that the kernel does and that a trace shows. nil: traces show
	// such calls without their results.
	Log CallLog
}

// A NameTable has the names of sockets by their cookies (SO_COOKIE, socket(7)). The way
// in which calls are taken answers getsockname(2) and getpeername(2) by it.
type NameTable interface {
	// Set says what the calls answer as long as the kernel's names of the socket stay
	// what they are. It does nothing if names were forgotten since Count returned count.
	Set(cookie, count uint64, n SocketNames)
	// Forget withdraws what Set has said of a socket.
	Forget(cookie uint64)
	// Count returns a number that changes with each call of Forget.
	Count() uint64
	// Use says whether the calls are answered by the table, or all taken.
	Use(bool)
}

// SocketNames are names of a socket, each a struct sockaddr of AF_INET or AF_INET6.
type SocketNames struct {
	Own, Far         []byte // the kernel's names; Far is empty: it has no peer
	OwnName, FarName []byte // the answers; empty: unknown
}

// Takes returns the rows whose calls an interposer with these abilities can take, with
// the conditions that it uses.
func (a Abilities) Takes(rows []Entry) (taken []Entry) {
	for _, e := range rows {
		if e.Compat && !a.Compat {
			continue
		}
		if a.Memory && len(e.Inside) > 0 {
			e.When = e.Inside
		}
		e.Inside = nil
		taken = append(taken, e)
	}
	return taken
}

// A Loss is an ability that an interposer lacks, and the consequence.
type Loss struct {
	Name string // name of the ability
	What string // the consequence
}

// Lacks returns what these abilities lack compared with better ones.
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

// A CallLog has calls that the kernel has done. See LogRows.
type CallLog interface {
	// Deliver says who receives the calls, soon after they have ended. Before that, they
	// are dropped.
	Deliver(func(*LoggedCall))
	// Flush waits until all calls that have ended were delivered.
	Flush()
}
