// Package linux makes the system calls that package unix lacks, or that it makes at a
// higher cost.
//
// It is the only package that passes pointers to the kernel. Other packages use package
// unsafe only in files whose names end in _unsafe.go, for memory that they share with the
// kernel over many calls; internal/deptest holds that.
//
//	socket.go       socket(2), bind(2), connect(2), accept4(2), names, socket options
//	data.go         read(2), write(2), sendto(2), recvmsg(2)
//	descriptor.go   close(2), fcntl(2), ioctl(2)
//	poll.go         ppoll(2) without waiting
//	sockdiag.go     sock_diag(7): questions about sockets; diagsocket.go has the answers
//	destroyed.go    sock_diag(7): messages about sockets that were destroyed
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
