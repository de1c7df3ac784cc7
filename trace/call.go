package trace

import "time"

// NoFD in Call.FD says that the call has no descriptor.
const NoFD = -1

// A Phase says which part of a call an event describes.
type Phase string

// The phases of a call.
const (
	Whole Phase = "" // the whole call
	// the call has begun; an event with Exit or Lost of the same thread follows
	Enter Phase = "enter"
	Exit  Phase = "exit" // the call has ended; an event with Enter came before
	// the call has begun; boxer has left it to the kernel and does not see its end
	Watched Phase = "watched"
	// the call has begun, and has no end: its process or the trace ended first
	Lost Phase = "lost"
)

// HasResult reports whether Ret and Errno are valid.
func (p Phase) HasResult() bool { return p == Whole || p == Exit }

// A Call is a system call.
type Call struct {
	Base
	Duration time.Duration // with HasResult and Lost: time until the call ended
	Thread
	Name    string
	Args    []string // in the notation of strace
	FD      int      // the descriptor of the call, or NoFD
	Phase   Phase
	Ret     int64  // -1 on error
	Errno   string // name of the error, such as "ECONNREFUSED"; "" if there was none
	RetNote string // what strace writes after the result, such as what the new descriptor is
	ABI     string // for a call of the 32-bit ABI: "i386" or "arm"
	Served
}

// Type is "call".
func (*Call) Type() string { return "call" }

func (e *Call) fields(c *codec) {
	e.Base.fields(c)
	integer(c, "dur", &e.Duration, "until it ended")
	e.Thread.fields(c)
	c.text("call", &e.Name, "name of the call, as in section 2 of the manual")
	c.texts("args", &e.Args, "the arguments, each as strace writes it")
	number(c, "fd", &e.FD, e.FD != NoFD, "the file descriptor that the call uses")
	c.text("phase", (*string)(&e.Phase), "absent for a complete call; `enter`: the call waits, and an `exit` or `lost` follows; `exit`: the call returned; "+
		"`watched`: the kernel executes the call, and boxer does not learn the result; `lost`: the process or the trace ended before the call did")
	number(c, "ret", &e.Ret, e.Phase.HasResult(),
		"the result, -1 on error; absent if there is none")
	c.text("errno", &e.Errno, "name of the error")
	c.text("ret_note", &e.RetNote, "the text that strace writes after the result")
	c.text("abi", &e.ABI, "`i386` or `arm` if a 32-bit program made the call; absent for the node's native ABI")
	e.Served.fields(c)
}

// Served is what boxer did for a call.
type Served struct {
	Peer string // the node at the other end
	// "same host", "LAN", "punched" or "relayed"; "host" if only the kernel was involved
	Path    string
	Conn    ConnID        // the connection of the call, 0 if none
	Network time.Duration // how long the call waited for the network
	Inside  time.Duration // how long boxer itself worked
	Failure string        // what failed, and where: "refused by db (10.111.0.3:5432)"
	Note    string        // other information
}

func (s *Served) fields(c *codec) {
	c.text("peer", &s.Peer, "the node at the far end")
	c.text("path", &s.Path, "the path of the packets: `same host`, `LAN`, `punched`, `relayed`; `direct` if the kernels' TCP carries the connection; `host` if they do not go through boxer")
	c.connID("conn", &s.Conn, "id of the connection that the call uses")
	integer(c, "network", &s.Network, "how long it waited for the network")
	integer(c, "inside", &s.Inside, "how long boxer itself took")
	c.text("failure", &s.Failure, "what went wrong, and where")
	c.text("note", &s.Note, "further information")
}

// A Process is the start, the exec or the end of a process.
type Process struct {
	Base
	Thread
	What   string // "start", "exec" or "exit"
	Parent int    // for a start: the parent process
	Exe    string // for an exec: argv[0] or the file
	Status string // for an exit, if known: "0", "1", "SIGKILL"
}

// Type is "process".
func (*Process) Type() string { return "process" }

func (e *Process) fields(c *codec) {
	e.Base.fields(c)
	e.Thread.fields(c)
	c.text("what", &e.What, "kind of event: `start`, `exec` or `exit`")
	integer(c, "parent", &e.Parent, "the process that it came from")
	c.text("exe", &e.Exe, "argv[0] or the executed file")
	c.text("status", &e.Status, "of an exit: exit status or the name of a signal; absent if it is not known")
}
