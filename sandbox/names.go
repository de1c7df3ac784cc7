package sandbox

import seccomp "github.com/seccomp/libseccomp-golang"

// CallName returns the name of a native system call, "" if there is none with
// that number.
func CallName(nr uintptr) string {
	name, err := seccomp.ScmpSyscall(nr).GetName()
	if err != nil {
		return ""
	}
	return name
}

// CallNumber returns the number of a system call on this architecture. ok is
// false if it has no such call.
func CallNumber(name string) (nr uintptr, ok bool) {
	s, err := seccomp.GetSyscallFromName(name)
	if err != nil || s < 0 { // libseccomp numbers what others have below 0
		return 0, false
	}
	return uintptr(s), true
}
