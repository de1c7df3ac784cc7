// The signals that a supervisor passes on to its program. It has to know who
// sent each of them, and neither os/signal nor signalfd(2) can tell: Go keeps
// the signals that end a process unblocked. So these have a handler of our own.

#include "catch.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

uint64_t boxer_original_mask;
uint64_t boxer_ignored;

static const int forwarded[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1, SIGUSR2,
				SIGALRM, SIGTERM, SIGCONT, SIGTSTP, SIGWINCH};
static int out = -1;

// Runs before Go's runtime, which changes both.
__attribute__((constructor)) static void remember(void)
{
	sigset_t mask;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	for (int sig = 1; sig <= 64; sig++) {
		struct sigaction sa;
		if (sigismember(&mask, sig) == 1)
			boxer_original_mask |= 1ULL << (sig - 1);
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			boxer_ignored |= 1ULL << (sig - 1);
	}
}

static void pass(int sig, int code, int pid)
{
	struct boxer_signal s = {sig, code, pid};

	if (out >= 0 && write(out, &s, sizeof s) < 0) {
		// A full pipe: thousands of signals wait already.
	}
}

static void handle(int sig, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	pass(sig, info->si_code, info->si_pid);
	errno = saved;
}

void boxer_note(int sig) { pass(sig, SI_USER, getpid()); }

void boxer_catch(int fd)
{
	struct sigaction sa;

	out = fd;
	memset(&sa, 0, sizeof sa);
	sa.sa_sigaction = handle;
	sa.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
	sigfillset(&sa.sa_mask);
	for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
		sigaction(forwarded[i], &sa, NULL);
}
