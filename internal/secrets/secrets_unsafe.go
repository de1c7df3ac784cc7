// Package secrets hides join URLs from other processes.
//
// A join URL admits its holder. The package overwrites the tokens in this process's
// arguments and environment, which /proc shows, before Go's runtime starts. So it is only
// for programs that are boxer's own: whoever imports it has os.Args replaced.
package secrets

// #include "secrets.h"
import "C"

import (
	"os"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// joinVariable is the environment variable with the join URL, or @FILE.
const joinVariable = "BOXER_JOIN"

// Before Go's runtime started, secrets.c has overwritten the tokens that other users
// could read in /proc. os.Args and os.Getenv have the originals again, in memory that
// only this process reads.
func init() {
	if C.boxer_arguments != nil {
		args := slices.Clone(os.Args)
		for i, original := range unsafe.Slice(C.boxer_arguments, len(args)) {
			if original != nil {
				args[i] = C.GoString(original)
			}
		}
		os.Args = args
	}
	if C.boxer_join != nil {
		os.Setenv(joinVariable, strings.TrimPrefix(C.GoString(C.boxer_join), joinVariable+"="))
	}
}

// Keep keeps other processes of this user from reading this process's memory
// and environment, which hold tokens and keys (PR_SET_DUMPABLE, prctl(2)): no ptrace(2),
// no /proc/PID/mem, no core file. Root may all the same.
func Keep() error {
	return os.NewSyscallError("prctl(PR_SET_DUMPABLE)",
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}
