// Signals while calls wait: what the kernel does for accept(2) and its like, see signal(7).
#define _GNU_SOURCE
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>
static sigjmp_buf out;
static volatile int handled, inner;
static struct utsname u;
static void count(int s) { (void)s, handled++; }
static void calls(int s)
{
	(void)s;
	handled++;
	inner = uname(&u); // answered at once
}
static void leave(int s)
{
	(void)s;
	handled++;
	siglongjmp(out, 1);
}
static void on(void (*f)(int), int flags)
{
	struct sigaction a = {.sa_handler = f, .sa_flags = flags};
	sigaction(SIGALRM, &a, 0);
	handled = 0;
	struct itimerval t = {.it_value = {0, 100000}};
	setitimer(ITIMER_REAL, &t, 0);
}
static int s;
// wait is a call that the supervisor answers after half a second: with 7, by listen(2).
static void wait_for(const char *what)
{
	errno = 0;
	int r = listen(s, 1);
	printf("%s: %d %s, handled %d\n", what, r, errno ? strerrorname_np(errno) : "-", handled);
}
int main(void)
{
	static char stack[65536];
	s = socket(AF_INET, SOCK_STREAM, 0);
	on(count, SA_RESTART);
	wait_for("SA_RESTART");
	on(count, 0);
	wait_for("no SA_RESTART");
	on(calls, SA_RESTART);
	wait_for("handler that calls");
	printf("inner: %d %s\n", inner, u.sysname);
	stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
	sigaltstack(&ss, 0);
	on(calls, SA_RESTART | SA_ONSTACK);
	wait_for("handler on its own stack");
	for (int i = 0; i < 3; i++) {
		on(leave, 0);
		if (!sigsetjmp(out, 1))
			wait_for("not reached");
		else
			printf("left, handled %d\n", handled);
	}
	on(SIG_IGN, 0);
	wait_for("ignored");
	printf("uname: %d\n", uname(&u));
}
