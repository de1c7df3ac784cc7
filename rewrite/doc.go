// Package rewrite intercepts the system calls of a process tree from inside its programs.
// It is for hosts whose kernel refuses filters: AWS Lambda functions are reported to
// refuse seccomp(2), no_new_privs and ptrace(2).
//
// The kernel does not execute the program
// itself. It executes a small loader (inside/, freestanding C, embedded in this package).
// The loader maps the program and its dynamic linker as the kernel would, replaces the
// relevant system-call instructions by branches (package plan), and jumps to the
// program's entry point. A hook in the loader examines each call that arrives through a
// branch. It passes calls without a rule to the kernel, and the others to the supervisor.
// The supervisor is this package, and answers as package sandbox does.
//
// # The path of a call
//
// All processes of a tree and the supervisor share memory (struct shared in
// inside/inside.h). Each thread has a slot there. A call writes its number and arguments
// into the slot, marks the slot in a bitmap, and wakes the supervisor by a futex. The
// supervisor answers into the slot and wakes the thread. Descriptors travel over an
// abstract Unix socket. The program connects it only when it needs it, so that this
// package occupies none of the program's descriptors.
//
// A signal may interrupt a call that waits. FUTEX_WAIT restarts after a handler with
// SA_RESTART and returns EINTR after one without, as the waiting call itself would. A
// handler may make calls itself. The hook then submits the interrupted call again, as
// happens with a filter.
//
// # Programs that are executed
//
// The hook takes execve(2). The supervisor examines the file and its interpreter, and
// replies whether the kernel would execute it. Then the process executes the loader with
// unchanged arguments, and the loader asks the supervisor what to map. So the package
// needs no environment variable, and a static program may start a dynamic one.
package rewrite
