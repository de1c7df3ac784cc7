// Package linux makes the system calls that package unix lacks, or that it makes at a
// higher cost.
//
// It is the only package that makes raw system calls and imports package unsafe, but for
// files whose names end in _unsafe.go: memory that is shared with the kernel over many
// calls, with other processes, or with C. A test in internal/deptest holds that.
//
//	socket.go       socket(2), bind(2), connect(2), accept4(2), names, socket options
//	data.go         read(2), write(2), sendto(2), recvmsg(2)
//	descriptor.go   close(2), fcntl(2), ioctl(2)
//	poll.go         ppoll(2) without waiting
//	sockdiag.go     sock_diag(7): questions about sockets; diagsocket.go has the answers
//	destroyed.go    sock_diag(7): messages about sockets that were destroyed
//	memory.go       process_vm_readv(2), process_vm_writev(2)
//	pidfd.go        pidfd_getfd(2), the exit status that a pidfd tells
//	seccomp.go      seccomp(2): filters, listeners, notifications
//	landlock.go     landlock(7)
//	thread.go       calls for or by one thread
//	futex.go        futex(2)
//	rights.go       descriptors in messages (SCM_RIGHTS)
//	version.go      the kernel's release
//
// # Calls past the runtime
//
// Functions that cannot block make their call by unix.RawSyscall. To the Go runtime that
// is no system call. The runtime expects that a call of unix.Syscall may block, and wakes
// its monitor thread for it; the monitor then looks every 20 us whether the call has
// returned. On a short call that costs more than the call. A function that may block says
// so, and uses unix.Syscall.
//
// Functions that are one system call return a bare unix.Errno as error, or nil. A caller
// that knows the object adds its name.
package linux
