// Package sandbox traps system calls of a process tree and answers them.
//
// It is built on seccomp user notification (seccomp_unotify(2)): a [Policy]
// compiles to a classic BPF program, [StartFiltered] forks a child under it,
// and a [Listener] hands each trapped call out as a [Notif], which reads and
// writes the caller's memory, copies its file descriptors and answers it. The
// package knows nothing of what the calls mean.
//
// # Threads and signals
//
// The runtime's poller waits for trapped calls, so that no thread has to. If a signal
// interrupts SECCOMP_IOCTL_NOTIF_ADDFD with SECCOMP_ADDFD_FLAG_SEND, the trapped call
// returns 0, which the program takes for file descriptor 0. Go's own preemption signal
// can cause this. [Notif.InstallFD] blocks all signals during that call.
//
// # Versions of Linux
//
// Linux 5.14 is the oldest kernel with all needed features (ADDFD_FLAG_SEND). The package
// uses two features of newer kernels if they are present. PIDFD_THREAD (6.9) saves a read
// of /proc per copied descriptor. SYNC_WAKE_UP (6.6) makes an answer three times as fast.
// [Probe] reports the features of a host.
package sandbox
