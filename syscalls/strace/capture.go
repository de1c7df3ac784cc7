package strace

// A Capture says what memory of a call a log stores: what one argument points to.
type Capture struct {
	Arg  int
	Kind CaptureKind
}

// A CaptureKind says how much memory an argument points to.
type CaptureKind uint8

const (
	CaptureNone     CaptureKind = iota
	CaptureString               // it ends with a zero
	CaptureSent                 // as many bytes as the next argument says
	CaptureReceived             // as many bytes as the result says
	CaptureTime                 // struct timespec
)

// unlogged are calls that cannot be made by a function, which has to return, and those
// by which a trace knows the processes.
var unlogged = map[string]bool{"clone": true, "clone3": true, "execve": true,
	"execveat": true, "exit": true, "exit_group": true, "fork": true, "vfork": true,
	"rt_sigreturn": true, "restart_syscall": true, "shmdt": true, "madvise": true,
	"remap_file_pages": true, "arch_prctl": true}

// withoutAddress are calls of the set %network that can be logged where they have no
// address.
var withoutAddress = map[string]bool{"sendto": true, "recvfrom": true}

// Loggable returns what a log has to store of the calls with a name, so that Decode can
// show them. ok is false if that is more than memory that single arguments point to, or
// if the calls cannot be made in another place of the program.
func Loggable(name string) (captures []Capture, ok bool) {
	sig := signaturesByName()[name]
	if unlogged[name] {
		return nil, false
	}
	if sig == nil { // its registers are shown
		return nil, true
	}
	for i, p := range sig.params {
		switch {
		case p.capture != CaptureNone:
			captures = append(captures, Capture{i, p.capture})
		case (p.need != nil || p.out) && !(withoutAddress[name] && i >= 4):
			return nil, false
		}
	}
	return captures, !sig.isNetwork() || withoutAddress[name]
}

// isNetwork reports whether the signature is of the set %network.
func (s *Signature) isNetwork() bool {
	for i := range networkCalls {
		if networkCalls[i].name == s.name {
			return true
		}
	}
	return false
}
