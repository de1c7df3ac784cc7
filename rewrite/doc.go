// Package rewrite gets system calls out of a process tree from inside its programs, where
// the kernel refuses filters: AWS Lambda functions are reported to refuse seccomp(2),
// no_new_privs and ptrace(2).
//
// A program is not executed by the kernel. The kernel executes a small loader (inside/,
// freestanding C, embedded in this package). The loader maps the program and its dynamic
// linker as the kernel would, replaces those system-call instructions that matter by
// branches (package plan), and goes to the program's entry. A hook in the loader looks at
// each call that comes through: it lets the kernel do what nobody wants, and hands the
// others to the supervisor, package rewrite, which answers as package sandbox does.
//
// # The way of a call
//
// All processes of a tree and the supervisor share memory (struct shared in
// inside/inside.h). Each thread has a slot there. A call writes its number and arguments
// into the slot, marks the slot in a bitmap, and wakes the supervisor by a futex. The
// supervisor answers into the slot and wakes the thread. Descriptors travel over an
// abstract Unix socket, which the program connects when it needs it, so that no
// descriptor of the program's is in the way of this package.
//
// A signal may interrupt a call that waits. FUTEX_WAIT restarts after a handler with
// SA_RESTART and returns EINTR after one without, as the calls do that it stands for. A
// handler may make calls itself; what it has interrupted is then asked once more, as with
// a filter.
//
// # Programs that are executed
//
// The hook sees execve(2). The supervisor looks at the file and its interpreter and says
// whether the kernel would execute it; then the process executes the loader, with the
// arguments as they are, and the loader asks the supervisor what to map. So no variable
// of the environment is needed, and a static program may start a dynamic one.
package rewrite
