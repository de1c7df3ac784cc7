// Runs before Go's runtime: a signal mask that stands then is the mask of every
// thread, and the signals wait for signalfd(2), which also tells who sent them.

#include <signal.h>
#include <stdint.h>
#include <string.h>

uint64_t boxer_original_mask; // bit n-1 is signal n
uint64_t boxer_ignored;       // likewise: those that the parent ignored

// The signals that a supervisor passes on. The rest is synchronous, or Go's.
static const int forwarded[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGUSR1, SIGUSR2,
				SIGALRM, SIGTERM, SIGCONT, SIGTSTP, SIGWINCH};

__attribute__((constructor)) static void early(int argc, char **argv)
{
	sigset_t set, old;
	int init = argc > 0 && strcmp(argv[0], "boxer-init") == 0;

	if (!init && !(argc > 1 && (strcmp(argv[1], "run") == 0 || strcmp(argv[1], "trace") == 0)))
		return;
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
		sigaddset(&set, forwarded[i]);
	sigprocmask(SIG_BLOCK, &set, &old);
	for (int sig = 1; sig <= 64; sig++) {
		struct sigaction sa;
		if (sigismember(&old, sig) == 1)
			boxer_original_mask |= 1ULL << (sig - 1);
		if (sigaction(sig, NULL, &sa) == 0 && sa.sa_handler == SIG_IGN)
			boxer_ignored |= 1ULL << (sig - 1);
	}
}
