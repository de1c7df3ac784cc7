// Package sandbox gets system calls out of a process tree and answers into it.
//
// It is built on seccomp user notification (seccomp_unotify(2)): a [Policy]
// compiles to a classic BPF program, [StartFiltered] forks a child under it,
// and a [Listener] hands each trapped call out as a [Notif], which reads and
// writes the caller's memory, copies its file descriptors and answers it. The
// package knows nothing of what the calls mean.
//
// # Threads and signals
//
// No thread waits for trapped calls: that is left to the runtime's poller. A signal
// that interrupts SECCOMP_IOCTL_NOTIF_ADDFD with SECCOMP_ADDFD_FLAG_SEND makes the
// trapped call return 0, which the program takes for file descriptor 0, and Go's
// own preemption signal is enough. [Notif.InstallFD] masks all of them meanwhile.
//
// # Versions of Linux
//
// 5.14 is the oldest kernel with all that is needed (ADDFD_FLAG_SEND). What
// newer ones add is used where it is there: PIDFD_THREAD (6.9) saves a look
// into /proc per copied descriptor, and SYNC_WAKE_UP (6.6) makes an answer
// three times as fast. [Probe] tells what a host has.
package sandbox
