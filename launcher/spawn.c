// A fork(2) and exec(2) whose program finds its own pid in its environment. Go's
// syscall.ForkExec cannot do that: it takes the environment before there is a pid.

#define _GNU_SOURCE
#include "spawn.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static struct rlimit files;

// Runs before Go's runtime, which raises the soft limit.
__attribute__((constructor)) static void remember(void)
{
	getrlimit(RLIMIT_NOFILE, &files);
}

// Async-signal-safe, as all that a child of vfork(2) calls has to be.
static void write_pid(char *to, unsigned pid)
{
	char digits[BOXER_PID_ROOM];
	int n = 0;

	do
		digits[n++] = '0' + pid % 10;
	while (pid /= 10);
	while (n > 0)
		*to++ = digits[--n];
	*to = 0;
}

static void set_signals(uint64_t blocked)
{
	sigset_t mask;

	sigemptyset(&mask);
	for (int sig = 1; sig <= 64; sig++) {
		struct sigaction sa;
		if (blocked & 1ULL << (sig - 1))
			sigaddset(&mask, sig);
		// Go's handlers must not run in the child.
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler != SIG_IGN && sa.sa_handler != SIG_DFL) {
			memset(&sa, 0, sizeof sa);
			sa.sa_handler = SIG_DFL;
			sigaction(sig, &sa, NULL);
		}
	}
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

int boxer_spawn(const char *path, char *const argv[], char *const envp[],
		char *const own[], size_t count, uint64_t mask)
{
	volatile int failed = 0;
	sigset_t all, before;
	pid_t pid;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pid = vfork(); // the memory is shared until the exec
	if (pid == 0) {
		for (size_t i = 0; i < count; i++)
			write_pid(own[i], (unsigned)getpid());
		setrlimit(RLIMIT_NOFILE, &files);
		set_signals(mask);
		execve(path, argv, envp);
		failed = errno;
		_exit(127);
	}
	if (pid < 0)
		failed = errno;
	else if (failed)
		waitpid(pid, NULL, 0);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = failed;
	return failed ? -1 : pid;
}
