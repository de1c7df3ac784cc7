/*
 * supervisor CMD [ARG...] runs a command and answers its getsockname(2), as little as can be done to answer it truly: copy
 * the descriptor, ask the kernel, check the id, write address and length. It is what boxer's answer is measured against.
 * It serves one thread at a time that calls, and ends with the command.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP /* Linux 6.6 */
#define SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP 1UL
#define SECCOMP_IOCTL_NOTIF_SET_FLAGS _IOW('!', 4, unsigned long long)
#endif
#ifndef PIDFD_THREAD /* Linux 6.9 */
#define PIDFD_THREAD O_EXCL
#endif

static void die(const char *what)
{
	perror(what);
	exit(125);
}

/* install puts the filter on this thread and returns its listener. */
static int install(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getsockname, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof code / sizeof *code, code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		die("prctl");
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
}

/* answer does the call on a copy of the caller's descriptor. It returns an errno. */
static int answer(int listener, struct seccomp_notif *n, int pidfd)
{
	struct sockaddr_storage name;
	socklen_t size = sizeof name, wanted;
	struct iovec here, there;
	int fd, failed;

	fd = syscall(SYS_pidfd_getfd, pidfd, n->data.args[0], 0);
	if (fd < 0)
		return errno;
	failed = getsockname(fd, (struct sockaddr *)&name, &size) ? errno : 0;
	close(fd);
	if (failed)
		return failed;
	here = (struct iovec){ &wanted, sizeof wanted };
	there = (struct iovec){ (void *)n->data.args[2], sizeof wanted };
	if (process_vm_readv(n->pid, &here, 1, &there, 1, 0) != sizeof wanted)
		return EFAULT;
	if (ioctl(listener, SECCOMP_IOCTL_NOTIF_ID_VALID, &n->id))
		return EINTR;
	here = (struct iovec){ &name, size < wanted ? size : wanted };
	there = (struct iovec){ (void *)n->data.args[1], here.iov_len };
	if (process_vm_writev(n->pid, &here, 1, &there, 1, 0) != (ssize_t)here.iov_len)
		return EFAULT;
	here = (struct iovec){ &size, sizeof size };
	there = (struct iovec){ (void *)n->data.args[2], sizeof size };
	if (process_vm_writev(n->pid, &here, 1, &there, 1, 0) != sizeof size)
		return EFAULT;
	return 0;
}

/* serve answers until no thread of the command is left. */
static void serve(int listener)
{
	struct seccomp_notif n;
	struct seccomp_notif_resp r;
	unsigned caller = 0;
	int pidfd = -1;

	ioctl(listener, SECCOMP_IOCTL_NOTIF_SET_FLAGS, SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP);
	for (;;) {
		memset(&n, 0, sizeof n);
		if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n)) {
			if (errno == EINTR)
				continue;
			return; /* ENOENT: nobody is left */
		}
		if (n.pid != caller) {
			if (pidfd >= 0)
				close(pidfd);
			pidfd = syscall(SYS_pidfd_open, n.pid, PIDFD_THREAD);
			caller = n.pid;
		}
		memset(&r, 0, sizeof r);
		r.id = n.id;
		r.error = -answer(listener, &n, pidfd);
		ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &r);
	}
}

int main(int argc, char **argv)
{
	int number[2], taken[2], theirs, listener, pidfd, status;
	char byte = 0;
	pid_t pid;

	if (argc < 2)
		return 125;
	if (pipe2(number, O_CLOEXEC) || pipe2(taken, O_CLOEXEC))
		die("pipe2");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if ((theirs = install()) < 0)
			die("seccomp");
		if (write(number[1], &theirs, sizeof theirs) < 0 || read(taken[0], &byte, 1) != 1)
			die("listener");
		close(theirs);
		execvp(argv[1], argv + 1);
		die(argv[1]);
	}
	if (read(number[0], &theirs, sizeof theirs) != sizeof theirs)
		die("listener");
	if ((pidfd = syscall(SYS_pidfd_open, pid, 0)) < 0 || (listener = syscall(SYS_pidfd_getfd, pidfd, theirs, 0)) < 0)
		die("pidfd");
	if (write(taken[1], &byte, 1) != 1)
		die("listener");
	signal(SIGPIPE, SIG_IGN);
	if (fork() == 0) {
		/* Before Linux 6.11 a receive lasts for ever when nobody is left. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		serve(listener);
		_exit(0);
	}
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 125;
}
