package syscalls

import "golang.org/x/sys/unix"

// archTable has the rows that other architectures lack.
var archTable = []Entry{
	{Name: "open", Nr: unix.SYS_OPEN, When: plainOpen(1), Inside: procNetOpen(0, 1),
		do:   (*Node).open2,
		Note: "as openat; musl's"},
}
