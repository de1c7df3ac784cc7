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

// CallNumbers returns the numbers of this architecture's system calls by name.
func CallNumbers() map[string]uintptr { return numbersOf(CallName) }

// CompatCallNumbers returns the numbers of the host's 32-bit ABI by name: i386 on amd64,
// ARM on arm64.
func CompatCallNumbers() map[string]uintptr {
	return numbersOf(func(nr uintptr) string {
		name, err := seccomp.ScmpSyscall(nr).GetNameByArch(compatScmpArch)
		if err != nil {
			return ""
		}
		return name
	})
}

func numbersOf(name func(nr uintptr) string) map[string]uintptr {
	const above = 512 // above all native numbers; those of x32 are higher
	m := make(map[string]uintptr)
	for nr := range uintptr(above) {
		if s := name(nr); s != "" {
			m[s] = nr
		}
	}
	return m
}
